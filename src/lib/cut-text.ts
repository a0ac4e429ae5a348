/** Returns the text, or as many of its code points as there may be. */
export function cutText(text: string, lengthMax: number): string {
  if (text.length <= lengthMax) return text;
  return Array.from(text.slice(0, 2 * lengthMax))
    .slice(0, lengthMax)
    .join('')
    .replace(/[\ud800-\udbff]$/, '');
}
