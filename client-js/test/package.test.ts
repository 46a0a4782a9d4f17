// The npm package as others get it: what is in it, that publint finds nothing,
// that programs compile against it and run with it, and that what browsers load
// of it holds nothing of Node.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const bench = mkdtempSync(join(tmpdir(), 'payword-package-'))
after(() => rmSync(bench, { recursive: true }))

/** Runs a program and returns what it wrote; a failure fails the test, with all of it. */
function run(program: string, given: string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, given, { cwd, encoding: 'utf8', timeout: 60_000 })
  assert.equal(status, 0, `${program} ${given.join(' ')}: ${error?.message ?? ''}\n${stdout}${stderr}`)
  return stdout
}

function filesUnder(path: string): string[] {
  return readdirSync(path).flatMap(name => {
    const inner = join(path, name)
    return statSync(inner).isDirectory() ? filesUnder(inner) : [inner]
  })
}

/**
 * Packs the package as `npm publish` does, and unpacks it where a consumer has it.
 * Compiles a copy of the source, because other tests use what is compiled here.
 */
function packed(): { tarball: string, files: string[] } {
  const copy = join(bench, 'copy')
  for (const name of ['package.json', 'tsconfig.json', 'LICENSE', 'README.md', 'src', 'scripts']) cpSync(join(folder, name), join(copy, name), { recursive: true })
  symlinkSync(join(folder, 'node_modules'), join(copy, 'node_modules'))
  const text = run('npm', ['pack', '--json', '--offline', '--no-update-notifier', '--pack-destination', bench], copy)
  const [result] = JSON.parse(text.slice(text.indexOf('['))) as { filename: string, files: { path: string }[] }[]
  assert.ok(result)
  const tarball = join(bench, result.filename)
  const modules = join(bench, 'node_modules')
  mkdirSync(join(modules, 'payword'), { recursive: true })
  run('tar', ['-xzf', tarball, '-C', join(modules, 'payword'), '--strip-components=1'], bench)
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
  // mppx is an optional peer; zod, ox and viem are its own.
  for (const name of [...Object.keys(dependencies), 'mppx', '@types/node', 'undici-types']) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(folder, 'node_modules', name), join(modules, name))
  }
  return { tarball, files: result.files.map(file => file.path).sort() }
}

const pack = packed()

test('the package holds what src gives, the licence and the page for npm', () => {
  const sources = filesUnder(join(folder, 'src')).map(path => relative(join(folder, 'src'), path)).filter(path => path.endsWith('.ts'))
  const compiled = sources.flatMap(path => ['js', 'd.ts'].map(ending => `dist/${path.replace(/ts$/, ending)}`))
  assert.deepEqual(pack.files, [...compiled, 'LICENSE', 'README.md', 'package.json'].sort())
  assert.equal(readFileSync(join(folder, 'LICENSE'), 'utf8'), readFileSync(join(folder, '..', 'LICENSE'), 'utf8'), 'one licence')
})

test('every dependency is imported by what is published, and nothing else is', () => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, Record<string, string>>
  const imported = filesUnder(join(folder, 'src')).flatMap(path => [...readFileSync(path, 'utf8').matchAll(/^(?:import|export|\})[^'\n]* from '([^'.\n][^'\n]*)'/gm)].map(match => match[1] ?? ''))
  const packages = imported.filter(name => !name.startsWith('node:')).map(name => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/'))
  assert.deepEqual([...new Set(packages)].sort(), Object.keys({ ...dependencies, ...peerDependencies }).sort())
})

test('publint finds nothing', async () => {
  const tarball = readFileSync(pack.tarball)
  const { messages, pkg } = await publint({
    strict: true, pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) as ArrayBuffer },
  })
  assert.deepEqual(messages.map(message => formatMessage(message, pkg as Record<string, unknown>, { color: false })), [])
})

/** What the package offers, by the name that programs import it under. */
const offered = Object.keys((JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { exports: Record<string, unknown> }).exports)
  .filter(path => !path.endsWith('.json')).map(path => path.replace(/^\./, 'payword'))

/** The types of mppx name packages that are optional to it, so that programs with it need skipLibCheck. */
const typed = offered.filter(name => name !== 'payword/mppx')

const consumer = (parts: string[]): string => `${parts.map((name, k) => `import * as part${k} from '${name}'`).join('\n')}
import type { Budget, Payer } from 'payword'
import { BudgetError, maxMicros } from 'payword'

const budget: Budget = { perRequest: 10_000n, perSite: maxMicros, perDay: 1_000_000n, total: maxMicros }
export const isOver = (error: unknown): boolean => error instanceof BudgetError && error.left < budget.perRequest
export async function currencyOf(payer: Payer): Promise<string | undefined> {
  return (await payer.account())?.currency
}
const over = new BudgetError({ limit: 'perRequest', vendor: 'https://news.example', want: 10_000n, left: 9_999n, currency: 'usd-micro' })
const parts: object[] = [${parts.map((_, k) => `part${k}`).join(', ')}]
console.log(isOver(over), isOver(new Error()), parts.length)
`

const seats = [['nodenext', 'nodenext', typed, false], ['bundler', 'esnext', typed, false], ['nodenext', 'nodenext', offered, true]] as const

for (const [resolution, module, parts, skipLibCheck] of seats) {
  test(`a strict TypeScript program compiles against ${parts.join(', ')} with moduleResolution ${resolution}`, () => {
    const seat = join(bench, `seat-${resolution}-${parts.length}`)
    mkdirSync(seat)
    writeFileSync(join(seat, 'program.mts'), consumer([...parts]))
    writeFileSync(join(seat, 'tsconfig.json'), JSON.stringify({
      compilerOptions: { strict: true, skipLibCheck, exactOptionalPropertyTypes: true, noEmitOnError: true, target: 'es2022', module, moduleResolution: resolution, types: ['node'], lib: ['es2023', 'dom'] },
    }))
    run(process.execPath, [join(folder, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', seat], seat)
    assert.equal(run(process.execPath, ['program.mjs'], seat), `true false ${parts.length}\n`)
  })
}

test('page code compiles without the types of Node', () => {
  const seat = join(bench, 'seat-page')
  mkdirSync(seat)
  writeFileSync(join(seat, 'page.ts'), "import * as payword from 'payword'\nexport const names: string[] = Object.keys(payword)\n")
  writeFileSync(join(seat, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', types: [], lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable'] },
  }))
  run(process.execPath, [join(folder, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', seat], seat)
})

/** The most that a page loads for all of the library, minified and compressed. */
const maxBundleBytes = 120_000

test('the bundle for browsers holds nothing of Node', async t => {
  const result = await build({
    entryPoints: [join(bench, 'node_modules', 'payword', 'dist', 'index.js')], bundle: true, minify: true, write: false, metafile: true,
    platform: 'browser', format: 'esm', target: 'es2022', logLevel: 'silent', nodePaths: [join(bench, 'node_modules')],
  })
  const inputs = Object.keys(result.metafile.inputs)
  assert.deepEqual(inputs.filter(path => /node:|\/dist\/(node|command\/|storage_file)/.test(path)), [])
  const [output] = Object.values(result.metafile.outputs)
  assert.deepEqual(output?.imports, [], 'nothing is left to be imported')
  const code = result.outputFiles[0]?.contents ?? new Uint8Array()
  assert.doesNotMatch(Buffer.from(code).toString(), /["'`]node:/)
  const compressed = gzipSync(code).length
  t.diagnostic(`all of the library: ${code.length} bytes minified, ${compressed} compressed, from ${inputs.length} modules`)
  assert.ok(compressed < maxBundleBytes, `${compressed} bytes`)
})
