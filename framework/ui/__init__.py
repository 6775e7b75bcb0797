"""The web UI: TypeScript source in `src`, bundled into `dist` by `make ui`, served by `assets`."""
