/** TensorBoard around us: its messages, its address, its theme and its font. Another page may be there instead. */

import { attempt, make } from "./common.js";

/** The name of the tab in TensorBoard's address, and of what it keeps there. */
const PLUGIN = "lr_plateau";
const PREFIX = `p.${PLUGIN}.`;

/** Open the channel by which TensorBoard talks to the frames of plugins: JSON, and every message wants an answer. */
export function connect(onReload) {
  const { port1: port, port2 } = new MessageChannel();
  port.onmessage = ({ data }) => {
    const { type, id, isReply } = JSON.parse(data);
    if (isReply) return;
    port.postMessage(JSON.stringify({ type, id, payload: null, error: null, isReply: true }));
    if (type === "experimental.DataReloaded") onReload();
  };
  window.parent.postMessage("experimental.bootstrap", window.location.origin, [port2]);
}

/** TensorBoard hides the frame of a tab that is not in front; it then has no height. */
export function isInFront() {
  return !document.hidden && window.innerHeight > 0;
}

// --- the address -----------------------------------------------------------------------------------------------------

/**
 * What the address says of us, by key. Read from the address itself: asked for it by "experimental.GetURLPluginData",
 * TensorBoard says what the address has changed to since the page was loaded, but not what it was then.
 */
function readLink() {
  const link = {};
  for (const part of window.parent.location.hash.split("&")) {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(part) ?? [];
    if (key?.startsWith(PREFIX)) link[key.slice(PREFIX.length)] = attempt(() => decodeURIComponent(value)) ?? value;
  }
  return link;
}

/** The address of TensorBoard with texts of ours, by key; what other tabs keep in it stays. */
export function linkWith(texts) {
  const url = new URL(window.parent.location.href);
  const [, ...others] = url.hash.slice(1).split("&");
  url.hash = [
    PLUGIN,
    ...others.filter((part) => !part.startsWith(PREFIX)),
    ...Object.entries(texts).map(([key, value]) => `${PREFIX}${key}=${encodeURIComponent(value)}`),
  ].join("&");
  return url.href;
}

function isOurAddress() {
  return window.parent.location.hash.split("&")[0] === `#${PLUGIN}`;
}

/** Let the address bar, too, say what was chosen. Nothing depends on it. */
export function writeAddress(texts) {
  try {
    const { history, location } = window.parent;
    const link = linkWith(texts);
    if (isInFront() && isOurAddress() && link !== location.href) history.replaceState(history.state, "", link);
  } catch {
    // Another page than TensorBoard's is around us.
  }
}

/** Take what the address says: now by `take`, and by `follow` when another link is opened while the tab is there. */
export function followAddress(current, take, follow) {
  try {
    take(readLink());
    window.parent.addEventListener("hashchange", () => {
      const link = readLink();
      const isNews = Object.keys(link).length && linkWith(current()) !== window.parent.location.href;
      if (isOurAddress() && isNews) follow(link);
    });
  } catch {
    // As above.
    take({});
  }
}

// --- the look --------------------------------------------------------------------------------------------------------

/** Light or dark, as TensorBoard is now and whenever it changes. */
export function followTheme(onChange) {
  const { body } = document;
  try {
    const host = window.parent.document.body;
    const follow = () => body.classList.toggle("dark", host.classList.contains("dark-mode"));
    follow();
    new MutationObserver(() => {
      const wasDark = body.classList.contains("dark");
      if (follow() !== wasDark && isInFront()) onChange();
    }).observe(host, { attributes: true, attributeFilter: ["class"] });
  } catch {
    // As above: light.
  }
}

/** TensorBoard's font, which its page has but a frame does not inherit. */
export async function borrowFonts() {
  try {
    const host = window.parent;
    const fonts = await host.document.fonts.ready;
    // Below a path, TensorBoard looks for its own font in vain.
    if ([...fonts].some((font) => font.status === "error")) return;
    const absolute = (_, address) => `url("${new URL(address, host.document.baseURI)}")`;
    const rules = [...host.document.styleSheets]
      .flatMap((sheet) => [...sheet.cssRules])
      .filter((rule) => rule instanceof host.CSSFontFaceRule)
      .map((rule) => rule.cssText.replace(/url\("([^"]*)"\)/g, absolute));
    document.head.append(make("style", { textContent: rules.join("\n") }));
  } catch {
    // As above: the browser's own font.
  }
}
