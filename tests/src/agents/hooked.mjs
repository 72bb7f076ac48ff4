#!/usr/bin/env node
// A JavaScript agent of direct mode without namespaces: it tries every way in which Node can connect, and reports as the
// probe does, in a model request.
import { ChildProcess, exec, execFile, execFileSync, execSync, fork, spawn, spawnSync } from 'node:child_process'
import dgram from 'node:dgram'
import dns, { lookup } from 'node:dns'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net, { connect } from 'node:net'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import { Worker } from 'node:worker_threads'

const MODEL = 'http://model.hexward.internal/v1/messages/count_tokens'
const PROVIDER = 'https://api.anthropic.com/nothing'

const event = (emitter, name) => new Promise((done, failed) => emitter.on(name, done).on('error', failed))
const denial = (response) => `${response.status ?? response.statusCode} ${response.headers.get?.('x-hexward-denial') ?? response.headers['x-hexward-denial']}`

async function post(url, body) {
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'anthropic-version': '2023-06-01' }
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
}

async function overHttp2(address) {
  const session = http2.connect(address)
  const failed = event(session, 'close')
  const request = session.request({ ':path': '/nothing' })
  const headers = await Promise.race([event(request, 'response'), failed])
  session.close()
  return `${headers[':status']} ${headers['x-hexward-denial']}`
}

function inWorker(options) {
  const script = `const { parentPort } = require('node:worker_threads')
    const ask = (url) => fetch(url).then((answer) => answer.status, (error) => error.cause.code)
    Promise.all([ask('http://example.com/'), ask('${MODEL}')]).then((seen) => parentPort.postMessage(seen))`
  return event(new Worker(script, { eval: true, ...options }), 'message')
}

function inChild(file, options) {
  const script = `const ask = (url) => fetch(url).then((answer) => answer.status, (error) => error.cause.code)
    Promise.all([ask('http://example.com/'), ask('${MODEL}')]).then((seen) => console.log(JSON.stringify(seen)))`
  return new Promise((done, failed) =>
    execFile(file, ['-e', script], options, (error, out) => (error ? failed(error) : done(JSON.parse(out)))),
  )
}

// Each has to reach the gateway.
const reached = {
  tools: async () => (await post('http://tools.hexward.internal/mcp', { jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} })).status,
  fetch: async () => denial(await fetch(PROVIDER)),
  https: async () => denial(await event(https.get(PROVIDER), 'response')),
  http: async () => denial(await event(http.get('http://api.anthropic.com/nothing'), 'response')),
  http2: () => overHttp2('https://api.anthropic.com'),
  net: async () => {
    const socket = connect(80, 'model.hexward.internal')
    socket.write('GET /nothing HTTP/1.1\r\nhost: model.hexward.internal\r\n\r\n')
    const head = String(await event(socket, 'data')).split('\r\n')[0]
    socket.destroy()
    return head
  },
  tls: async () => {
    const socket = tls.connect(443, 'api.anthropic.com')
    await event(socket, 'secureConnect')
    socket.destroy()
    return socket.authorized
  },
  another_name_in_host: async () => denial(await event(http.get({ host: 'model.hexward.internal', headers: { host: 'example.com' } }), 'response')),
  lookup: async () => (await dns.promises.lookup('api.anthropic.com')).address.startsWith('198.18.'),
  worker: () => inWorker({}),
  worker_with_options_of_its_own: () => inWorker({ execArgv: [], env: {} }),
  child: () => inChild('node', {}),
  child_without_environment: () => inChild(process.execPath, { env: {} }),
  child_sync: async () => JSON.parse(execFileSync('node', ['-e', 'fetch("http://example.com").catch((e) => console.log(JSON.stringify(e.cause.code)))'], { env: {} })),
}

// Each has to be refused.
const refused = (own) => ({
  fetch: () => fetch('https://example.com/'),
  fetch_of_an_address: () => fetch('http://169.254.169.254/latest'),
  fetch_of_the_gateway: () => fetch(own),
  https: () => event(https.get('https://example.com/'), 'response'),
  http: () => event(http.get('http://example.com/'), 'response'),
  http_by_a_local_socket: () => event(http.get({ socketPath: '/var/run/docker.sock' }), 'response'),
  http2: () => event(http2.connect('https://example.com'), 'connect'),
  net: () => event(net.connect(80, '127.0.0.1'), 'connect'),
  net_of_another_port: () => event(connect({ host: 'model.hexward.internal', port: 81 }), 'connect'),
  net_by_new: () => event(new net.Socket().connect(443, '1.1.1.1'), 'connect'),
  tls: () => event(tls.connect({ host: 'example.com', port: 443 }), 'secureConnect'),
  tls_by_new: () => event(new tls.TLSSocket().connect(443, 'api.anthropic.com'), 'connect'),
  lookup: () => new Promise((done, failed) => lookup('example.com', (error, found) => (error ? failed(error) : done(found)))),
  resolve: () => dns.promises.resolveTxt('example.com'),
  resolver: () => new dns.promises.Resolver().resolve4('example.com'),
  datagram: async () => dgram.createSocket('udp4'),
  spawn: async () => spawn('/bin/true'),
  spawn_of_a_shell: async () => spawn('node', ['--version'], { shell: true }),
  spawn_sync: async () => spawnSync('true').status,
  exec: () => new Promise((done, failed) => exec('true', (error) => (error ? failed(error) : done('ran')))),
  exec_sync: async () => execSync('true'),
  fork_of_another_program: async () => fork('/bin/true', { execPath: '/bin/true' }),
  a_process_by_hand: async () => new ChildProcess().spawn({ file: '/bin/true', args: [], stdio: [] }),
  a_binding: async () => process.binding('tcp_wrap'),
  an_add_on: async () => process.dlopen({ exports: {} }, '/lib/none.node'),
})

async function all(tries, judge) {
  const seen = {}
  for (const [name, attempt] of Object.entries(tries)) {
    const late = new Promise((_, failed) => setTimeout(failed, 8000, new Error('nothing came')).unref())
    seen[name] = await Promise.race([attempt(), late]).then((value) => judge(value, undefined), (error) => judge(undefined, error))
  }
  return seen
}

for await (const line of createInterface({ input: process.stdin })) {
  const { report, orders } = JSON.parse(JSON.parse(line).message.content)
  // Neither the end of its input nor of its connections ends it.
  if (orders[0].stay) {
    setInterval(() => {}, 1000)
    for (const fault of ['uncaughtException', 'unhandledRejection']) process.on(fault, () => {})
  }
  const good = await all(reached, (value, error) => value ?? `${error.cause ?? error}`)
  const bad = await all(refused(orders[0].own), (value, error) => {
    const cause = error?.cause ?? error
    return cause ? String(cause.message).includes('hexward direct mode: ') || `${cause}` : `reached: ${value}`
  })
  const content = report + JSON.stringify([good, bad, process.ppid])
  await post(MODEL, { model: 'claude-sonnet-5-5', max_tokens: 16, messages: [{ role: 'user', content }] })
  console.log(JSON.stringify({ type: 'result', subtype: 'success', is_error: false }))
}
