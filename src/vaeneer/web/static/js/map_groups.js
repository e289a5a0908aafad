// The points by category or by cluster: names, colours, sizes, and where the names are written.

const NONE = [122, 122, 126];

/** Groups of a map's answer: [{name, word, colour: [r, g, b], size, x, y}], and the group of each point. */
export function groupsOf(map, by) {
  const of = by === "category" ? map.categories : map.clusters;
  const known = by === "category" ? map.category_names : map.cluster_names;
  const name = (code) => (code < 0 || code == null ? "" : known[code] ?? "") || (by === "category" ? "no category" : "alone");
  const members = new Map();
  of.forEach((code, n) => {
    const label = name(code);
    if (!members.has(label)) members.set(label, []);
    members.get(label).push(n);
  });
  const groups = [...members].sort(([, a], [, b]) => b.length - a.length).map(([label, rows], number) => {
    const apart = label === "no category" || label === "alone";
    return { name: label, rows, size: rows.length, colour: apart ? NONE : hue(number), apart, ...middle(map, rows) };
  });
  const group = new Int32Array(of.length);
  groups.forEach(({ rows }, number) => { for (const n of rows) group[n] = number; });
  return { groups, group };
}

function middle({ x, y }, rows) {
  const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
  return { x: median(rows.map((n) => x[n])), y: median(rows.map((n) => y[n])) };
}

/** Colours that stay apart: hues by the golden angle, light and dark by turns; readable on both grounds. */
function hue(number) {
  const angle = (number * 137.508 + 25) % 360, light = [0.6, 0.5, 0.68][number % 3], strong = 0.62;
  const part = (n) => {
    const k = (n + angle / 30) % 12;
    return Math.round(255 * (light - strong * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}
