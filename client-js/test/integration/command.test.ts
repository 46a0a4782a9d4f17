// `payword` as people call it: a process against a real broker and a real gate,
// typed right and typed wrong.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run } from '../../src/command/command.js'
import { startServers, type Servers } from '../servers.js'

const program = fileURLToPath(new URL('../../src/command/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'payword-command-'))
const wallet = join(folder, 'made', 'wallet.json')
let servers: Servers

before(async () => {
  servers = await startServers([{
    name: 'news', caddyfile: 'root * {files}\npayword /paid/* {origin} 0.001 USD\nfile_server',
    files: { 'free.txt': 'free\n', 'paid/one.txt': 'one\n', 'paid/two.txt': 'two\n' },
  }])
})
after(async () => {
  await servers?.close()
  rmSync(folder, { recursive: true })
})

interface Ended { status: number | null, stdout: string, stderr: string }

function start(command: string, given: string[], input: string, environment: Record<string, string>): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, given, { env: { ...process.env, PAYWORD_WALLET: wallet, PAYWORD_PASSPHRASE_FILE: '', ...environment } })
    const ended: Ended = { status: null, stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => { ended.stdout += text })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { ended.stderr += text })
    child.on('error', reject).on('close', status => resolve({ ...ended, status }))
    child.stdin.on('error', () => { /* it ended before it had read all of it */ }).end(input)
  })
}

function payword(given: string[], input = '', environment: Record<string, string> = {}): Promise<Ended> {
  return start(process.execPath, [program, ...given], input, environment)
}

/** The same within this process, which is faster. */
async function called(given: string[]): Promise<Ended> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
  const status = await run(given, { stdin, stdout, stderr, environment: { PAYWORD_WALLET: wallet } })
  stdout.end()
  stderr.end()
  return { status, stdout: await text(stdout), stderr: await text(stderr) }
}

async function done(given: string[], input = '', environment: Record<string, string> = {}): Promise<Ended> {
  const ended = await payword(given, input, environment)
  assert.equal(ended.status, 0, `payword ${given.join(' ')}: ${ended.stdout}${ended.stderr}`)
  return ended
}

const news = (path: string): string => servers.site('news').origin + path

test('a day with the command', async t => {
  await t.test('without a wallet it says how to make one', async () => {
    const { status, stderr } = await payword(['balance'])
    assert.equal(status, 1)
    assert.match(stderr, /there is no wallet at .*wallet.json: make one with payword open BROKER/)
  })
  await t.test('open makes the wallet, which only its owner can read', async () => {
    const { stdout, stderr } = await done(['open', servers.broker.origin])
    assert.match(stderr, /Created wallet .*; its seed is in clear/)
    assert.match(stdout, /^Account +[a-z0-9]+ at http.*\nAvailable +0.00 USD\nReserved +0.00 USD\n$/)
    assert.equal(statSync(wallet).mode & 0o777, 0o600)
    assert.equal(statSync(join(folder, 'made')).mode & 0o777, 0o700)
  })
  await t.test('a voucher is piped in, and is no argument', async () => {
    const code = await servers.voucher(2_000_000n)
    const typed = await payword(['voucher', code])
    assert.equal(typed.status, 2)
    assert.match(typed.stderr, /others on this machine can see arguments/)
    assert.ok(!typed.stderr.includes(code))
    assert.match((await done(['voucher'], `${code}\n`)).stdout, /The voucher was worth 2.00 USD; 2.00 USD are available now/)
    assert.match((await payword(['voucher'], '')).stderr, /no code came on standard input/)
  })
  await t.test('pay writes the page and says what it cost', async () => {
    const { stdout, stderr } = await done(['pay', news('/paid/one.txt')])
    assert.deepEqual([stdout, stderr], ['one\n', `Paid 0.001 USD to ${servers.site('news').origin}.\n`])
    const free = await done(['pay', news('/free.txt'), '--json', '-o', join(folder, 'page')])
    assert.equal(readFileSync(join(folder, 'page'), 'utf8'), 'free\n')
    assert.deepEqual(JSON.parse(free.stderr), { url: news('/free.txt'), status: 200, paid: '0', receipts: [] })
  })
  await t.test('pay keeps to its budget', async () => {
    const { status, stdout, stderr } = await payword(['pay', news('/paid/two.txt'), '--max', '0.0005'])
    assert.deepEqual([status, stdout], [1, ''])
    assert.match(stderr, /over the budget of --max: it takes 0\.00\d+ USD, 0\.0005 are left/)
    assert.match((await payword(['pay', news('/paid/two.txt'), '--budget', '0.001'])).stderr, /over the budget of --budget: it takes/)
    assert.equal((await payword(['pay', news('/nothing')])).status, 1)
    assert.equal((await servers.taken('news')).spent, 1000n)
  })
  await t.test('history, as people and programs read it', async () => {
    assert.match((await done(['history'])).stdout, /^\d{4}-\S+Z +0.001 USD +http\S+one.txt\nSpent 0.001 USD in all, 0.001 today/)
    const { spent, history } = JSON.parse((await done(['history', '--json'])).stdout) as { spent: string, history: unknown[] }
    assert.deepEqual([spent, history.length], ['1000', 1])
    const balance = JSON.parse((await done(['balance', '--json'])).stdout) as { available: string, reserved: string }
    assert.equal(BigInt(balance.available) + BigInt(balance.reserved), 2_000_000n)
  })
  await t.test('statement checks what the broker says by hashing', async () => {
    await servers.redeem()
    const { stdout } = await done(['statement'])
    assert.match(stdout, /Came in +2.00 USD\nPaid +0.001 USD on 1 commitment\n/)
    assert.match(stdout, /\nAll of it agrees.\n$/)
    const check = JSON.parse((await done(['statement', '--json'])).stdout) as { isSound: boolean, paid: string, commitments: { hashes: number, isOwn: boolean }[] }
    assert.deepEqual([check.isSound, check.paid, check.commitments[0]?.isOwn], [true, '1000', true])
    assert.ok((check.commitments[0]?.hashes ?? 0) > 0)
  })
  await t.test('a backup restores the wallet, and nothing is replaced', async () => {
    const copy = join(folder, 'backup.json')
    assert.match((await done(['backup', '-o', copy])).stderr, /keep it like money/)
    assert.equal(statSync(copy).mode & 0o777, 0o600)
    assert.equal((await payword(['backup', '-o', copy])).status, 1)
    assert.equal((await payword(['restore', copy])).status, 1)
    const again = join(folder, 'again.json')
    assert.match((await done(['restore', copy, '--wallet', again])).stdout, /Restored wallet .*again.json with the account \S+ and 1 sites/)
    assert.match((await done(['balance', '--wallet', again])).stdout, /Available/)
  })
})

test('a passphrase comes from a file or is typed without being shown', async () => {
  const secret = join(folder, 'secret')
  const sealed = { PAYWORD_WALLET: join(folder, 'sealed.json') }
  writeFileSync(secret, 'correct horse\nanother line\n')
  assert.match((await done(['open', servers.broker.origin], '', { ...sealed, PAYWORD_PASSPHRASE_FILE: secret })).stderr, /its seed is encrypted/)
  assert.match((await payword(['balance'], '', sealed)).stderr, /PAYWORD_PASSPHRASE_FILE, or call this from a terminal/)
  const typed = await start('script', ['-qec', `'${process.execPath}' '${program}' balance`, '/dev/null'], 'correct horsx\u007fe\r', sealed)
  assert.match(typed.stdout, /Passphrase: [^]*Available/)
  assert.doesNotMatch(typed.stdout.replace(/^correct hors.*\r?\n/, ''), /correct/)
})

const wrong: [given: string[], says: RegExp][] = [
  [[], /want a command/],
  [['blance'], /"blance" is no command: did you mean balance\?/],
  [['xyzzy'], /"xyzzy" is no command\.\n/],
  [['pay'], /want a URL/],
  [['pay', 'news.example'], /want a URL that begins with https/],
  [['pay', 'https://news.example/', '-o', 'nowhere/page'], /there is no folder "?nowhere/],
  [['pay', 'https://news.example/', '-o', '.'], /this is a folder/],
  [['pay', 'ftp://news.example/'], /want a URL that begins with https/],
  [['pay', 'https://anna:word@news.example/'], /without a user name/],
  [['pay', 'https://news.example/', 'https://news.example/'], /one argument too many/],
  [['pay', 'https://news.example/', '--maxx', '1'], /--maxx" is no flag of this command: did you mean --max\?/],
  [['pay', 'https://news.example/', '-max', '1'], /did you mean --max\?/],
  [['pay', 'https://news.example/', '--max'], /want a value after --max/],
  [['pay', 'https://news.example/', '--max', '1', '--max', '2'], /given twice/],
  [['pay', 'https://news.example/', '--max', '-1'], /--max "-1": want an amount such as 0.01/],
  [['pay', 'https://news.example/', '--max', '1e3'], /want an amount/],
  [['pay', 'https://news.example/', '--max=0.0000001'], /at most six digits/],
  [['pay', 'https://news.example/', '--json=yes'], /--json takes no value/],
  [['open'], /want the origin of a BROKER/],
  [['open', 'broker.example'], /BROKER: /],
  [['open', 'http://broker.example'], /BROKER: /],
  [['history', '--count', '0'], /want a number from 1/],
  [['restore'], /want either a FILE, or --seed/],
  [['restore', 'x', '--seed'], /want either a FILE, or --seed/],
  [['restore', '--seed'], /--broker ORIGIN goes with --seed/],
  [['statement', '--keys', 'x'], /--keys is for the FILE/],
  [['statement', 'x'], /want --keys/],
  [['balance', '--passphrase', 'secret'], /--passphrase" is no flag/],
]

test('typed wrong, it says what would be right and exits with 2', async () => {
  for (const [given, says] of wrong) {
    const { status, stdout, stderr } = await called(given)
    assert.deepEqual([status, stdout], [2, ''], given.join(' '))
    assert.match(stderr, says, given.join(' '))
    assert.match(stderr, /\nTry payword .*--help\n$/)
  }
})

test('help is there for every command, and goes to standard output', async () => {
  const { stdout } = await done(['--help'])
  const names = [...stdout.matchAll(/^payword (\w+)/gm)].map(match => match[1] ?? '')
  assert.equal(names.length, 8)
  for (const name of names) assert.match((await called([name, '--help'])).stdout, new RegExp(`^payword ${name} .*\n[^]*Example:\n`))
})

test('statement checks a file without asking anybody', async () => {
  const vectors = new URL('../../../../testdata/vectors/statements/', import.meta.url)
  const files: string[] = []
  for (const name of ['good-vendor', 'tail-forged']) {
    const { input } = JSON.parse(readFileSync(new URL(`${name}.json`, vectors), 'utf8')) as { input: { statement: string, keys: unknown } }
    writeFileSync(join(folder, name), input.statement)
    writeFileSync(join(folder, 'keys.json'), JSON.stringify(input.keys))
    files.push(join(folder, name))
  }
  const keys = ['--keys', join(folder, 'keys.json')]
  assert.match((await done(['statement', files[0] ?? '', ...keys])).stdout, /Chains +351 steps[^]*All of it agrees/)
  const forged = await payword(['statement', files[1] ?? '', ...keys])
  assert.equal(forged.status, 1)
  assert.match(forged.stdout, /NOT RIGHT: line 2: .*\(forged-payword\)/)
  assert.equal((await payword(['statement', join(folder, 'none'), ...keys])).status, 2)
})
