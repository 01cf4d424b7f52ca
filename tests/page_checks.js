// What a person would see go wrong on a page: run in a browser by tests/test_report_browser.py.
({
  texts() {
    // Every visible text with its box. What only a screen reader gets has a clip of its own.
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, parent = node.parentElement;
      if (!node.data.trim() || ["SCRIPT", "STYLE", "OPTION", "title"].includes(parent.tagName)) continue;
      if (!parent.checkVisibility() || getComputedStyle(parent).clipPath !== "none") continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const box of range.getClientRects())
        if (box.width > 1 && box.height > 1) found.push({ node, parent, box });
    }
    return found;
  },
  overflows() {
    const wrong = [], width = innerWidth + 0.5;
    if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page scrolls sideways");
    for (const { node, parent, box } of this.texts()) {
      const scroll = parent.closest(".scroll");
      const scrolls = scroll && scroll.scrollWidth > scroll.clientWidth && parent.closest("details");
      if (!scrolls && (box.right > width || box.left < -0.5)) wrong.push(node.data.trim().slice(0, 50));
    }
    return wrong;
  },
  overlaps() {
    const wrong = [], all = this.texts().sort((a, b) => a.box.top - b.box.top);
    all.forEach((one, i) => {
      for (let j = i + 1; j < all.length && all[j].box.top < one.box.bottom - 2; j++) {
        const other = all[j];
        if (one.node === other.node) continue;
        const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const down = Math.min(one.box.bottom, other.box.bottom) - other.box.top;
        if (across > 1 && down > 3) wrong.push([one, other].map((x) => x.node.data.trim().slice(0, 40)));
      }
    });
    return wrong;
  },
  contrasts() {
    // The least contrast of a text with what is behind it (WCAG 2), and the texts below 4.5.
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) =>
      [r, g, b].map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
        .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const colour = numbers(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
      }
      return [255, 255, 255];
    };
    const wrong = [];
    let least = 21;
    for (const { node, parent } of this.texts()) {
      const style = getComputedStyle(parent);
      const front = numbers(parent.closest("svg") ? style.fill : style.color);
      const [a, b] = [luminance(front), luminance(behind(parent))].sort((x, y) => y - x);
      const contrast = (a + 0.05) / (b + 0.05);
      least = Math.min(least, contrast);
      if (contrast < 4.5) wrong.push(`${contrast.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
    }
    return { least, wrong };
  },
})
