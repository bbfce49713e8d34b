// Creates HTML elements. Invariant: strings become text nodes, so that text of other users is never parsed as
// markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const HUES = [8, 32, 52, 96, 152, 178, 204, 228, 262, 290, 322, 344];

/**
 * The round picture of a user or a team: the first letter of the name (two for Chinese names) on the colour
 * of the name.
 */
export function avatar(name, isTeam = false) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  const letters = Array.from(new Intl.Segmenter().segment(name), ({ segment }) => segment);
  const count = /^\p{Script=Han}/u.test(name) ? 2 : 1;
  const made = element('span', { class: 'avatar', 'aria-hidden': 'true' }, letters.slice(0, count).join('').toUpperCase());
  made.classList.toggle('team', isTeam);
  made.classList.toggle('two', count === 2);
  made.style.setProperty('--hue', HUES[sum % HUES.length]);
  return made;
}
