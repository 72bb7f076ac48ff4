/** Hexward behind a web application of your own: the back end's part. A page imports `@hexward/client/browser` or `/react` instead. */
export { createHexward, HexwardUser } from "./server.js";
export type * from "./server.js";
export { es256Signer, hs256Signer, publicJwk } from "./assertion.js";
export type { HostUser, SignerOptions, SignUser } from "./assertion.js";
export { verifyWebhook, WebhookError } from "./webhooks.js";
export type { VerifyOptions, WebhookEvent } from "./webhooks.js";
export { HexwardError, isPassing } from "./errors.js";
export type { ClientCode, ErrorCode } from "./errors.js";
export { CODES } from "./codes.js";
export type { ApiCode, DenialCode, KnownCode } from "./codes.js";
export type * from "./events.js";
export type { RunTicket } from "./browser.js";
export type { FollowOptions } from "./follow.js";
export { EMPTY_VIEW, reduce, textOf, viewOf } from "./view.js";
export type { RunPart, RunView, ToolView } from "./view.js";
export { SseParser } from "./sse.js";
export type { SseMessage } from "./sse.js";
