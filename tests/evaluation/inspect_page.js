// What is wrong with a page as this window shows it: texts under 9 px, too little contrast, and what is cut.
() => {
  const found = { small: [], pale: [], cut: [] };
  const name = (e) => `${e.tagName.toLowerCase()}.${e.getAttribute("class") || ""}#${e.id}: ${(e.textContent || "").trim().slice(0, 50)}`;
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.cut.push(`the page: ${root.scrollWidth} > ${root.clientWidth}`);
  if (document.body.scrollWidth > document.body.clientWidth) found.cut.push(`the body: ${document.body.scrollWidth} > ${document.body.clientWidth}`);
  const hidden = (e) => e.closest(".vh, .figures thead") && getComputedStyle(e.closest(".vh, .figures thead")).clipPath !== "none";
  const scrolls = (e) => e.closest(".wide");
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = (text) => { const n = text.match(/[\d.]+/g).map(Number); return { r: n[0], g: n[1], b: n[2], a: n.length > 3 ? n[3] : 1 }; };
  const luminance = (c) => 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.a === 1) return colour;
      if (colour.a !== 0) throw new Error(`half transparent background of ${name(e)}`);
    }
    return { r: 255, g: 255, b: 255, a: 1 };
  };
  for (const e of document.body.querySelectorAll("*")) {
    if (!e.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }) || hidden(e)) continue;
    const box = e.getBoundingClientRect();
    if (!box.width && !box.height) continue;
    const svg = e.closest("svg");
    if (!scrolls(e) && (!svg || e === svg) && (box.right > root.clientWidth + 0.5 || box.left < -0.5)) found.cut.push(name(e));
    const style = getComputedStyle(e);
    if (!svg && ["hidden", "clip"].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1) found.cut.push(`hidden overflow of ${name(e)}`);
    if (e.matches(".wide") && style.overflowX !== "auto" && style.overflowX !== "scroll" && e.scrollWidth > e.clientWidth + 1) found.cut.push(`no scroll bar for ${name(e)}`);
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.matches("title, desc, style, script, metadata *")) continue;
    let size = parseFloat(style.fontSize), ink = parse(style.color);
    if (svg) {
      const m = e.getScreenCTM();
      size *= Math.sqrt(Math.abs(m.a * m.d - m.b * m.c));
      ink = parse(style.fill);
      const frame = svg.getBoundingClientRect();
      if (box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1) found.cut.push(`outside its figure: ${name(e)}`);
    }
    if (size < 9) found.small.push(`${size.toFixed(2)} px: ${name(e)}`);
    const [low, high] = [luminance(ink), luminance(ground(e))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.pale.push(`${contrast.toFixed(2)}: ${name(e)}`);
  }
  return found;
}
