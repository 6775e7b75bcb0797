// The page lives at /ui/, the API beside it; a leading path (a proxy's) is kept.

export const BASE = new URL("..", document.baseURI).pathname.replace(/\/$/, "");
