// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import { renderMarkdown, splitBlocks } from "./markdown";

function rendered(source: string): HTMLElement {
  const element = document.createElement("div");
  element.innerHTML = renderMarkdown(source);
  return element;
}

const HOSTILE = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  "![x](https://attacker.example/p.png?q=1)",
  "![x](data:image/svg+xml,<svg onload=alert(1)>)",
  "![x][r]\n\n[r]: https://attacker.example/p.png",
  "[a](javascript:alert(1))",
  "[a](JaVaScRiPt:alert(1))",
  "[a](java&#115;cript:alert(1))",
  "[a](&#x6a;avascript:alert(1))",
  "[a](vbscript:x) [b](data:text/html,x) [c](file:///etc/passwd) [d](blob:https://x/y)",
  "[a](//attacker.example) [b](/api/session) [c](#x) [d](mailto:a@b.c) [e](attacker.example)",
  "[a](https://user:pass@attacker.example/)",
  "<javascript:alert(1)>",
  "<https://a.example/\" onmouseover=\"alert(1)>",
  "[a](https://a.example/ \"t\\\" onmouseover=\\\"alert(1)\")",
  "```html\" onload=\"alert(1)\n<b>x</b>\n```",
  "`<img src=x onerror=alert(1)>`",
  "<svg><animate onbegin=alert(1) attributeName=x></svg>",
  "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
  "<form action=//attacker.example><button>x</button></form>",
  '<a href="https://a.example" ping="https://attacker.example" download>x</a>',
  '<p style="background:url(https://attacker.example)">x</p>',
  "<link rel=prefetch href=https://attacker.example> <meta http-equiv=refresh content=0> <base href=//x>",
  "<iframe srcdoc='<script>alert(1)</script>'></iframe> <object data=x></object> <embed src=x>",
  '<div id="app" name="location">clobber</div>',
  "| <img src=x onerror=alert(1)> | [x](javascript:1) |\n| --- | --- |\n| a | b |",
  "> - 1. <script>alert(1)</script>",
  "\u0000<script\u0000>alert(1)</script>",
  "https://attacker.example/bare www.attacker.example",
];

const TAGS = new Set(
  "P BR HR STRONG EM S CODE PRE BLOCKQUOTE A H1 H2 H3 H4 H5 H6 UL OL LI TABLE THEAD TBODY TR TH TD".split(" "),
);
const ATTRIBUTES = new Set(["href", "rel", "target", "data-host", "start"]);

describe("renderMarkdown", () => {
  it.each(HOSTILE)("keeps to its allow-list: %s", (source) => {
    for (const element of rendered(source).querySelectorAll("*")) {
      expect(TAGS).toContain(element.tagName);
      for (const { name } of element.attributes) expect(ATTRIBUTES).toContain(name);
      const href = element.getAttribute("href");
      if (href === null) continue;
      expect(href).toMatch(/^https?:\/\/[^@]*$/i);
      expect(element.getAttribute("rel")).toBe("noopener noreferrer nofollow");
      expect(element.getAttribute("target")).toBe("_blank");
      expect(element.getAttribute("data-host")).toBe(new URL(href).host);
    }
  });

  it("makes no link of a bare address and none that isn't the web", () => {
    for (const source of HOSTILE.filter((text) => /javascript|vbscript|mailto|user:pass|\/bare/i.test(text))) {
      expect(rendered(source).querySelectorAll("a[href]")).toHaveLength(0);
    }
  });

  it("shows raw HTML and images as words", () => {
    expect(rendered("a <b>c</b>").textContent).toContain("<b>c</b>");
    expect(rendered("![a cat](https://x.example/cat.png)").textContent?.trim()).toBe("[image: a cat]");
    expect(rendered("![](https://x.example/cat.png)").textContent?.trim()).toBe("[image]");
    expect(rendered("![<img src=x>](https://x.example)").textContent).toContain("<img src=x>");
  });

  it("keeps what an answer is made of", () => {
    const html = renderMarkdown("# T\n\n**b** *e* `c` [l](https://example.com/p?q=1)\n\n3. x\n4. y\n\n|a|\n|-|\n|b|");
    for (const part of ["<h1>", "<strong>", "<em>", "<code>", 'start="3"', "<table>", 'href="https://example.com/p?q=1"']) {
      expect(html).toContain(part);
    }
  });
});

describe("splitBlocks", () => {
  it("cuts at top-level blocks only, and loses nothing", () => {
    const source = "\npara\nmore\n\n- a\n\n- b\n\n```\ncode\n\ncode\n```\n\n> q\n\n| a |\n| - |\n| b |\n";
    const blocks = splitBlocks(source);
    expect(blocks.map((block) => block.trim().slice(0, 3))).toEqual(["par", "- a", "```", "> q", "| a"]);
    expect(blocks.join("\n")).toBe(source);
  });

  it("leaves earlier blocks as they are while the last one grows", () => {
    const source = "One.\n\nTwo **bold** and `code`.\n\n```js\nlet a = 1;\n\nlet b;\n```\n\n- x\n- y\n\nEnd.";
    let known: string[] = [];
    for (let end = 1; end <= source.length; end += 1) {
      const blocks = splitBlocks(source.slice(0, end));
      const settled = known.slice(0, -1).map((block) => block.trimEnd());
      expect(blocks.slice(0, settled.length).map((block) => block.trimEnd())).toEqual(settled);
      known = blocks;
    }
    expect(known).toHaveLength(5);
  });

  it("finds no blocks in nothing", () => {
    expect(splitBlocks("")).toEqual([]);
    expect(splitBlocks("\n \n")).toEqual([]);
  });
});
