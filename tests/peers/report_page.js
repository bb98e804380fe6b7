// Runs in a copy of a report's page and tells the frame around it what is wrong, or "fine, SCHEME, WIDTH".
addEventListener("load", () => {
  const faults = [];
  const root = document.documentElement;
  const name = (element) => `'${element.textContent.trim().slice(0, 40)}'`;
  if (root.scrollWidth > innerWidth) faults.push(`the page is ${root.scrollWidth} pixels wide`);
  // Text must stay on the page, and inside its card.
  for (const element of document.querySelectorAll("h1,h2,h3,p,dt,dd,th,td,figcaption,svg text,.key")) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5)) faults.push(`${name(element)} is cut off`);
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0) faults.push(`${name(element)} overflows`);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const label = svg.getAttribute("aria-label"), outer = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")], boxes = texts.map((text) => text.getBoundingClientRect());
    boxes.forEach((a, i) => {
      if (a.left < outer.left - 0.5 || a.right > outer.right + 0.5 || a.top < outer.top - 0.5 || a.bottom > outer.bottom + 0.5)
        faults.push(`${name(texts[i])} leaves the drawing '${label}'`);
      for (let j = 0; j < i; ++j) {
        const b = boxes[j];
        // Line boxes are taller than letters; a fifth of the height may touch.
        const slack = 0.2 * a.height;
        if (a.left < b.right && b.left < a.right && a.top + slack < b.bottom && b.top + slack < a.bottom)
          faults.push(`${name(texts[i])} lies over ${name(texts[j])} in '${label}'`);
      }
    });
    // Beside the ticks, which are numbers, every drawing has two names of axes.
    const names = texts.filter((text) => !/^[-−]?[0-9.]+(e-?[0-9]+)?[kMG%]?$/.test(text.textContent));
    if (names.length !== 2) faults.push(`'${label}' has ${names.length} axis names`);
  }
  // Contrast against the page (WCAG 2, level AA: 4.5 for text, 3 for what is drawn).
  const light = (color) => {
    const [r, g, b] = color.match(/[0-9.]+/g).map((c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  for (const element of document.querySelectorAll("h1,p,td,th b,figcaption b,small,.key i")) {
    const own = light(getComputedStyle(element).color);
    if ((Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05) < (element.tagName === "I" ? 3 : 4.5)) faults.push(`${name(element)} is faint`);
  }
  const others = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:"));
  if (others.length > 0) faults.push(`it asks for ${others[0].name}`);
  const scheme = page < 0.5 ? "dark" : "light";
  parent.postMessage(faults.length > 0 ? faults.slice(0, 5).join("; ") : `fine, ${scheme}, ${innerWidth}`, "*");
});
