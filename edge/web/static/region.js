// A rectangle that is dragged on a picture, in pixels of the picture.
const SMALLEST = 32;

// Lays a box over the picture in its frame; none: hides it.
export function place(box, region, { width, height }) {
  box.hidden = !region;
  if (!region) return;
  box.style.left = `${(100 * region.x) / width}%`;
  box.style.top = `${(100 * region.y) / height}%`;
  box.style.width = `${(100 * region.width) / width}%`;
  box.style.height = `${(100 * region.height) / height}%`;
}

// Calls back with each rectangle that is dragged; size() gives the picture's width and height, or nothing.
export function drag(view, size, drawn) {
  let from = null;
  const point = (event) => {
    const { width, height } = size();
    const box = view.getBoundingClientRect();
    const within = (share, most) => Math.round(Math.max(0, Math.min(1, share)) * most);
    return [within((event.clientX - box.left) / box.width, width), within((event.clientY - box.top) / box.height, height)];
  };
  const between = ([x1, y1], [x2, y2]) => ({ x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) });
  view.addEventListener("pointerdown", (event) => {
    if (!size()) return;
    from = point(event);
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    if (!from || !size()) return;
    const region = between(from, point(event));
    if (region.width >= SMALLEST && region.height >= SMALLEST) drawn(region);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    view.addEventListener(name, () => {
      from = null;
    });
  }
}
