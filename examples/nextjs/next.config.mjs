/** @type {import("next").NextConfig} */
export default {
  poweredByHeader: false,
  images: { unoptimized: true },
  // The repository around this application has lock files of its own.
  turbopack: { root: import.meta.dirname },
};
