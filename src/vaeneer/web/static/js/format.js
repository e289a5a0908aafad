// Numbers and names as people read them.

const counted = new Intl.NumberFormat("en");
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const count = (number) => counted.format(number);

export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** Of a library whose second pass did not end. */
export const pending = (number) => `The small parts of ${many(number, "image")} are not indexed yet, so that a search by a box finds less.`;

/** Seconds as a person says them. */
export function timeLeft(seconds) {
  if (seconds < 60) return "less than a minute left";
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min left`;
  return `about ${Math.round(seconds / 3600)} h left`;
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

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** A name on one line, as the command line shows it: control characters as \n, \x1b, \u202e. */
export const printable = (text) => text.replace(CONTROL, (one) => {
  const code = one.charCodeAt(0).toString(16);
  return SHORT[one] ?? (code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`);
});

export const fileOf = (path) => printable(path.slice(path.lastIndexOf("/") + 1));

export const words = (name) => name.replaceAll("_", " ");
