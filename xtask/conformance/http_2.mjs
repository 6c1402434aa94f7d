// Runs the suite over HTTP/2 with prior knowledge, and prints its results as JSON. The suite's own
// client speaks HTTP/1.1 only: `fetch` below stands in for it, as far as the suite uses it.
import http2 from 'node:http2'
import { runTests, getResults } from './package/client/runner.mjs'
import suites from './package/tests/index.mjs'
import surrogate from './package/tests/surrogate-control.mjs'

const base = process.env.npm_config_base
const id = process.env.npm_config_id ?? ''

// Milliseconds without an answer after which a request has failed.
const LIMIT = 60_000

// RFC 9113 §8.2.2: these belong to a connection of HTTP/1.1.
const OF_CONNECTION = new Set(['connection', 'host', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

// Several connections, since the suite runs 100 tests at once.
const sessions = Array.from({ length: 8 }, () => http2.connect(base))
let turn = 0

function fetch (url, init = {}) {
  const { pathname, search } = new URL(url)
  const fields = { ':method': init.method ?? 'GET', ':path': pathname + search, 'user-agent': 'http-cache-tests' }
  for (const [name, value] of init.headers ?? []) {
    const field = name.toLowerCase()
    if (OF_CONNECTION.has(field)) continue
    fields[field] = field in fields ? `${fields[field]}, ${value}` : value
  }
  return new Promise((resolve, reject) => {
    const stream = sessions[turn++ % sessions.length].request(fields, { endStream: init.body === undefined })
    stream.setTimeout(LIMIT, () => stream.close(http2.constants.NGHTTP2_CANCEL, () => reject(new Error('no answer'))))
    stream.on('error', reject)
    stream.on('response', (_, flags, lines) => {
      const headers = new Headers()
      let status = 0
      for (let at = 0; at < lines.length; at += 2) {
        if (lines[at] === ':status') status = Number(lines[at + 1])
        else headers.append(lines[at], lines[at + 1])
      }
      const chunks = []
      stream.on('data', chunk => chunks.push(chunk))
      // The suite reads each body once the head has been checked.
      const text = new Promise((resolve, reject) => {
        stream.on('end', () => resolve(Buffer.concat(chunks).toString()))
        stream.on('error', reject)
        stream.on('aborted', () => reject(new Error('the body was cut off')))
      })
      text.catch(() => {})
      resolve({ status, headers, text: () => text, json: () => text.then(JSON.parse) })
    })
    if (init.body !== undefined) stream.end(init.body)
  })
}

let tests = [...suites, surrogate]
if (id !== '') {
  tests = tests.map(suite => ({ ...suite, tests: suite.tests.filter(test => test.id === id) }))
  tests.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
}
await runTests(tests, fetch, false, base)
sessions.forEach(session => session.close())
console.log(JSON.stringify(getResults(), null, 2))
