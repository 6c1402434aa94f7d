// Prints what the suite knows of its tests: suite, id, kind and dependencies, as JSON.
import suites from './package/tests/index.mjs'
import surrogate from './package/tests/surrogate-control.mjs'

const tests = []
for (const suite of [...suites, surrogate]) {
  for (const test of suite.tests) {
    if (test.browser_only) continue
    tests.push({ suite: suite.id, id: test.id, kind: test.kind ?? 'required', depends_on: test.depends_on ?? [] })
  }
}
console.log(JSON.stringify(tests))
