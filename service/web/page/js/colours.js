/**
 * Colours of numbers: one scale for those above zero, one for those on both sides of it.
 *
 * Both get steadily lighter or darker, so that they read without hue too; the second is blue and orange, which all eyes tell apart.
 */

// Matplotlib's viridis at nine places (CC0), and blue to orange by way of white.
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
 * A scale for numbers from `least` to `most`.
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

/** The least and the largest of numbers. @returns {[number, number]} */
export function range(numbers) {
  let [least, most] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > most) most = number;
  }
  return [least, most];
}
