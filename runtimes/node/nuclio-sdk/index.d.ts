// Types of what a nuclio function in JavaScript or TypeScript meets.

/** A function that serves events. A value, a promise, or an answer by `context.callback`. */
export type Handler = (context: Context, event: Event) => Result | Promise<Result> | void

/** The same for a trigger with `batch`: an answer for each event; an `Error` fails its event only. */
export type BatchHandler = (
  context: Context,
  events: Event[],
) => (Result | Error)[] | Promise<(Result | Error)[]> | void

/** What can be an answer: see "The answer" in the README of the Node runtime. */
export type Result =
  | string
  | number
  | boolean
  | null
  | undefined
  | ArrayBuffer
  | ArrayBufferView
  | Response
  | Retry
  | Reject
  | [status: number, body: unknown]
  | AsyncIterable<string | ArrayBufferView>
  | Generator<string | ArrayBufferView>
  | object

export interface TriggerInfo {
  readonly kind: string
  readonly name: string
}

/** Names in Go's form (`Content-Type`); can be looked up in any case. The first value of each. */
export type Headers = { [name: string]: string } & {
  get(name: string): string | undefined
  getAll(name: string): string[]
}

export class Event {
  constructor(fields?: Partial<Omit<Event, 'toJSON' | 'headers'>> & { headers?: object })
  /** Bytes of its own; of a body over 16 KiB they are there only if they were read in time. */
  body: Buffer
  content_type: string
  trigger: TriggerInfo
  /** The query, decoded; of a repeated name the last value. */
  fields: { [name: string]: string }
  headers: Headers
  id: string
  method: string
  /** Decoded. */
  path: string
  size: number
  timestamp: Date
  /** Path and query as they came. */
  url: string
  shard_id: number
  num_shards: number
  type: string
  type_version: string
  version: string
  last_in_batch: boolean
  offset: number
  topic: string
  key: string | null
  partition: number | null
  /** 1 for the first. */
  attempt: number
  /** When the answer is due. */
  deadline: Date | null
  /** Aborted when the deadline has passed. */
  signal: AbortSignal
  toJSON(): object
}

export class Response {
  constructor(
    body?: unknown,
    headers?: { [name: string]: string | number | boolean | string[] } | null,
    contentType?: string | null,
    statusCode?: number | null,
    bodyEncoding?: 'text' | 'base64' | null,
  )
  body: unknown
  headers: { [name: string]: string | number | boolean | string[] }
  content_type?: string | null
  status_code?: number | null
  body_encoding?: 'text' | 'base64' | null
}

/** Another attempt is wanted; can be returned or thrown. */
export class Retry extends Error {
  constructor(afterSeconds?: number)
  after: number
}

/** The event is refused for good; can be returned or thrown. */
export class Reject extends Error {
  constructor(reason?: string)
}

export interface Logger {
  debug(message: unknown, ...args: unknown[]): void
  info(message: unknown, ...args: unknown[]): void
  warn(message: unknown, ...args: unknown[]): void
  warning(message: unknown, ...args: unknown[]): void
  error(message: unknown, ...args: unknown[]): void
  debugWith(message: unknown, fields: object): void
  infoWith(message: unknown, fields: object): void
  warnWith(message: unknown, fields: object): void
  errorWith(message: unknown, fields: object): void
  /** A logger whose records all have these fields, too. */
  bind(fields: object): Logger
}

export class Context {
  constructor(about?: {
    workerId?: number
    trigger?: TriggerInfo | null
    functionName?: string
    functionVersion?: string
    namespace?: string
  })
  /** What lives as long as the worker; made in `initContext`. */
  userData: any
  logger: Logger
  Response: typeof Response
  workerId: number
  trigger: TriggerInfo | null
  functionName: string
  functionVersion: string
  namespace: string
  /** Answers the event of this call. */
  callback: (answer?: Result) => void
  /** The event's own `signal`. */
  readonly signal?: AbortSignal
  retry(options?: number | { after: number }): Retry
  reject(reason: string): Reject
}
