import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import { isWebLink } from "../link";

/**
 * The one way from model text to HTML. The text is hostile until proven otherwise: it may repeat what a stranger wrote into
 * a tile. markdown-it never emits raw HTML, DOMPurify keeps an allow-list of what it does emit, and Trusted Types make the
 * browser refuse any other string as HTML.
 *
 * Invariant: nothing rendered here loads anything by itself. A link leaves this page only when the person clicks on it.
 */
const markdown = new MarkdownIt({ html: false, linkify: false, typographer: false, breaks: false });

markdown.validateLink = (url) => isWebLink(url);
markdown.renderer.rules.image = (tokens, index) => {
  const alt = tokens[index]?.content ?? "";
  return markdown.utils.escapeHtml(alt === "" ? "[image]" : `[image: ${alt}]`);
};

const ALLOWED_TAGS = [
  "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "a",
  "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li",
  "table", "thead", "tbody", "tr", "th", "td",
];

const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName === "A") tameLink(element);
});

const policy = window.trustedTypes?.createPolicy("chat-html", { createHTML: sanitise });

/** HTML for one block of model text; a TrustedHTML where the browser knows Trusted Types. */
export function renderMarkdown(source: string): string {
  const html = markdown.render(source);
  return (policy?.createHTML(html) ?? sanitise(html)) as string;
}

/**
 * Splits text at its top-level blocks, so that a growing answer renders only its last block anew. Link references
 * (`[text][1]`) don't reach across blocks: they are shown as they are written, their target stays visible.
 */
export function splitBlocks(source: string): string[] {
  const lines = source.split("\n");
  const starts = markdown
    .parse(source, {})
    .filter((token) => token.level === 0 && token.map && token.nesting >= 0)
    .map((token) => token.map?.[0] ?? 0);
  return starts.map((start, index) => lines.slice(index === 0 ? 0 : start, starts[index + 1]).join("\n"));
}

function sanitise(html: string): string {
  return purifier.sanitize(html, {
    ALLOWED_TAGS,
    ALLOWED_ATTR: ["href", "start"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
}

/** Says where a link goes, and gives the place it goes to nothing: no opener, no referrer, no endorsement. */
function tameLink(link: Element): void {
  const href = link.getAttribute("href") ?? "";
  if (!isWebLink(href)) {
    link.removeAttribute("href");
    return;
  }
  link.setAttribute("rel", "noopener noreferrer nofollow");
  link.setAttribute("target", "_blank");
  link.setAttribute("data-host", new URL(href).host);
}
