// Loaded by Node before the agent, in direct mode on hosts where no network namespace can be had. It leads connections to
// the names that the gateway serves to this agent's own sockets, and refuses what it can't lead there.
//
// It redirects; it does not confine. Direct mode confines nothing, and a program that means to can undo what stands here.
'use strict'

const childProcess = require('node:child_process')
const dgram = require('node:dgram')
const dns = require('node:dns')
const fs = require('node:fs')
const module_ = require('node:module')
const net = require('node:net')
const path = require('node:path')
const tls = require('node:tls')
const workers = require('node:worker_threads')

// Beside this file: {"endpoints": [{"host", "address", "port", "socket"}], "alive": SOCKET}
const reach = JSON.parse(fs.readFileSync(path.join(__dirname, 'reach.json'), 'utf8'))
// A socket's path is short by definition (sun_path, unix(7)) while folders may be deep, so it goes by a descriptor.
const folder = fs.openSync(path.join(__dirname, 'net'), 'r')
const at = (socket) => `/proc/self/fd/${folder}/${socket}`
const own = new Set(reach.endpoints.map((one) => at(one.socket)))
// Stands where a path does, for what is about to be refused.
const REFUSED = 'refused:'
const nodeOptions = process.env.NODE_OPTIONS

function refusal(what) {
  const error = new Error(
    `hexward direct mode: ${what} is refused. No network namespace can be had on this host, so only connections to the ` +
      'model, the tools and hosts the operator allowed are redirected, and everything that could go around that is off.',
  )
  error.code = 'EHEXWARD'
  return error
}

const bare = (host) => String(host ?? 'localhost').toLowerCase().replace(/^\[|\]$/g, '').replace(/\.$/, '').replace(/^::ffff:/, '')

function endpoint(host, port) {
  const name = bare(host)
  return reach.endpoints.find((one) => (one.host === name || one.address === name) && one.port === Number(port))
}

// --- connections: net, tls, and with them http, https, http2, undici, fetch and WebSocket, which all connect by these ---

const connect = net.Socket.prototype.connect
net.Socket.prototype.connect = function (...args) {
  // What `net.connect` passes on is normalized already.
  const [options, callback] = Array.isArray(args[0]) ? args[0] : net._normalizeArgs(args)
  const refuse = (what) => {
    this.connecting = true
    process.nextTick(() => this.destroy(refusal(what)))
    return this
  }
  if (options.path != null) {
    if (own.has(options.path)) return connect.call(this, { path: options.path }, callback)
    const to = String(options.path)
    return refuse(to.startsWith(REFUSED) ? `a connection to ${to.slice(REFUSED.length)}` : `the local socket ${to}`)
  }
  const to = endpoint(options.host, options.port)
  // A handle that is there already is one for TCP.
  if (!to || this._handle) return refuse(`a connection to ${bare(options.host)}:${options.port}`)
  return connect.call(this, { path: at(to.socket) }, callback)
}

const tlsConnect = tls.connect
tls.connect = function (...args) {
  // (options), (port, options), (port, host, options), (path, options), each with a callback
  let callback
  if (typeof args.at(-1) === 'function') callback = args.pop()
  const last = args.at(-1)
  const options = typeof last === 'object' && last !== null ? { ...last } : {}
  if (typeof args[0] === 'number' || (typeof args[0] === 'string' && /^\d+$/.test(args[0]))) options.port = args[0]
  else if (typeof args[0] === 'string') options.path = args[0]
  if (typeof args[1] === 'string') options.host = args[1]
  // A stream that is given was connected above.
  if (!options.socket && options.path == null) {
    const to = endpoint(options.host, options.port)
    if (to) {
      options.servername ??= net.isIP(bare(options.host)) ? undefined : bare(options.host)
      options.path = at(to.socket)
    } else {
      options.path = `${REFUSED}${bare(options.host)}:${options.port}`
    }
  }
  return tlsConnect(options, callback)
}

// --- names ---

function address(host) {
  const name = bare(host)
  if (name === 'localhost') return '127.0.0.1'
  return net.isIP(name) ? name : reach.endpoints.find((one) => one.host === name)?.address
}

function unknown(call, host) {
  const error = refusal(`looking up ${host}`)
  return Object.assign(error, { code: 'ENOTFOUND', errno: -3008, syscall: call, hostname: host })
}

function lookup(host, options, callback) {
  if (typeof options === 'function') [options, callback] = [{}, options]
  const found = address(host)
  process.nextTick(() => {
    if (!found) callback(unknown('getaddrinfo', host))
    else if (options?.all) callback(null, [{ address: found, family: net.isIP(found) }])
    else callback(null, found, net.isIP(found))
  })
}

function resolve(call) {
  return function (host, ...rest) {
    const callback = rest.at(-1)
    const isV4 = call === 'resolve4' || (call === 'resolve' && (typeof rest[0] !== 'string' || rest[0] === 'A'))
    const found = isV4 ? address(host) : undefined
    process.nextTick(() => (found ? callback(null, [found]) : callback(unknown(call, host))))
  }
}

const promised = (asks) =>
  (...args) => new Promise((done, failed) => asks(...args, (error, ...found) => (error ? failed(error) : done(found))))

const resolvers = Object.getOwnPropertyNames(dns.Resolver.prototype).concat('reverse', 'lookupService')
for (const call of new Set(resolvers.filter((name) => /^(resolve|reverse|lookupService)/.test(name)))) {
  const asks = resolve(call)
  const later = promised(asks)
  const first = (...args) => later(...args).then((found) => found[0])
  dns[call] = asks
  dns.promises[call] = first
  if (call === 'lookupService') continue
  dns.Resolver.prototype[call] = asks
  dns.promises.Resolver.prototype[call] = first
}
dns.lookup = lookup
dns.promises.lookup = (host, options = {}) =>
  promised(lookup)(host, options).then(([found, family]) => (options.all ? found : { address: found, family }))

// --- what can't be redirected ---

const never = (what) => () => {
  throw refusal(what)
}
dgram.createSocket = never('a datagram socket')
for (const call of ['bind', 'connect', 'send', 'sendto', 'addMembership']) dgram.Socket.prototype[call] = never('a datagram socket')
process.dlopen = never('a native add-on, which could open connections of its own')
if (process.execve) process.execve = never('another program in the place of this one')
const binding = process.binding
const handles = /^(tcp|pipe|udp|cares|tls|process|stream|tty|js_stream)_wrap$|^spawn_sync$|^js_stream$/
process.binding = (name) => (handles.test(name) ? never(`the binding ${name}`)() : binding.call(process, name))

// --- further programs: Node with this hook, and no other ---

function isNode(file) {
  return file === process.execPath || file === 'node'
}

function hooked(pairs) {
  return pairs.filter((pair) => !pair.startsWith('NODE_OPTIONS=')).concat(`NODE_OPTIONS=${nodeOptions}`)
}

const spawn = childProcess.ChildProcess.prototype.spawn
childProcess.ChildProcess.prototype.spawn = function (options) {
  if (!isNode(options.file)) throw refusal(`the program ${options.file}, which is not Node`)
  return spawn.call(this, { ...options, file: process.execPath, envPairs: hooked(options.envPairs ?? []) })
}

function sync(call) {
  const original = childProcess[call]
  childProcess[call] = (file, args, options) => {
    if (!Array.isArray(args)) [args, options] = [[], args]
    if (!isNode(file) || options?.shell) throw refusal(`the program ${file}, which is not Node`)
    return original(process.execPath, args, { ...options, env: { ...(options?.env ?? process.env), NODE_OPTIONS: nodeOptions } })
  }
}
sync('spawnSync')
sync('execFileSync')
childProcess.execSync = (command) => never(`the command ${command}`)()

workers.Worker = class Worker extends workers.Worker {
  constructor(file, options = {}) {
    // Options of its own would replace those by which this file is loaded there.
    const { execArgv: _, env, ...rest } = options
    const kept = typeof env === 'object' && env !== null ? { env: { ...env, NODE_OPTIONS: nodeOptions } } : env ? { env } : {}
    super(file, { ...rest, ...kept })
  }
}

module_.syncBuiltinESMExports()

// A gateway that was killed takes its agents along.
if (workers.isMainThread) {
  const alive = connect.call(new net.Socket(), { path: at(reach.alive) })
  alive.on('error', () => {})
  alive.on('close', () => process.exit(1))
  alive.resume().unref()
}
