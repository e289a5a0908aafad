// Numbers and names as people read them.

const counted = new Intl.NumberFormat("en");
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const count = (number) => counted.format(number);

export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

export function bytes(number) {
  const power = number < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(number) / 3));
  return `${power ? (number / 1000 ** power).toPrecision(3) : number} ${UNITS[power]}`;
}

export function percent(share) {
  if (share > 0 && share < 0.01) return "< 1 %";
  if (share > 0.99 && share < 1) return `${(share * 100).toFixed(1)} %`;
  return `${Math.round(share * 100)} %`;
}

export const pixels = (width, height) => `${width} × ${height} px`;

export const fileOf = (path) => path.slice(path.lastIndexOf("/") + 1);

export const words = (name) => name.replaceAll("_", " ");
