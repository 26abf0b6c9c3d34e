/**
 * Colour scales: a sequential one for values from zero up, and a diverging one for values of both signs.
 *
 * Lightness changes steadily in both, so that they work without hue; blue and orange suit all kinds of colour vision.
 */

// Matplotlib's viridis at nine places (CC0), and blue to orange through white.
const UP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(rgb);
const BOTH = ["#0a3a73", "#2a6fb0", "#7fb2db", "#f4f3ef", "#f0b27a", "#cf6a1e", "#7d2f00"].map(rgb);

function rgb(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

function between(stops, share) {
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  return stops[low].map((from, channel) => Math.round(from + (stops[low + 1][channel] - from) * (place - low)));
}

/**
 * Return the scale for values from `least` to `most`.
 * @returns {{colour: function(number): number[], least: number, most: number, isSigned: boolean}} `colour` gives [r, g, b], 0 to 255.
 */
export function scale(least, most) {
  const isSigned = least < 0;
  if (isSigned) {
    const far = Math.max(-least, most) || 1;
    return { colour: (number) => between(BOTH, (number / far + 1) / 2), least: -far, most: far, isSigned };
  }
  const far = most || 1;
  return { colour: (number) => between(UP, number / far), least: 0, most: far, isSigned };
}

/** Return the smallest and largest value. @returns {[number, number]} */
export function range(numbers) {
  let [least, most] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > most) most = number;
  }
  return [least, most];
}
