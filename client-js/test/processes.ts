/** Processes of the `payword` program, which end before the test process does. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'

/** How long a server may take to answer, in ms: a first start on a busy machine takes seconds. */
const startTimeout = 60_000
/** How long a server may take to end by itself, in ms. */
const stopTimeout = 10_000

/** The program under test. */
export function paywordBinary(): string {
  const binary = process.env.PAYWORD_BINARY
  if (!binary) throw new Error('PAYWORD_BINARY names no payword program: run the tests by npm test')
  return binary
}

const live = new Set<ChildProcess>()
const directories = new Map<string, () => string>()

/** Has a directory removed when this process ends, or kept and its logs shown if a test failed. */
export function keepLogsOf(directory: string, logs: () => string): void {
  directories.set(directory, logs)
}

// Ends everything and removes it, however the process ends.
process.on('exit', code => {
  for (const child of live) child.kill('SIGKILL')
  const failed = code !== 0 || (process.exitCode ?? 0) !== 0
  for (const [directory, logs] of directories) {
    if (failed) process.stderr.write(`the servers' files are kept in ${directory}; their logs end:\n${logs()}\n`)
    else rmSync(directory, { recursive: true, force: true })
  }
})
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1))
}

/** One server. */
export class ServerProcess {
  readonly #directory: string
  readonly #name: string
  readonly #readyURL: string
  readonly #given: string[]
  readonly #ports: number[]
  #child: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()

  /**
   * @param readyURL - Answers with less than 500 once the server is up.
   * @param ports - Ports of 127.0.0.1 that it listens on too, perhaps later.
   */
  constructor(directory: string, name: string, readyURL: string, given: string[], ports: number[] = []) {
    this.#directory = directory
    this.#name = name
    this.#readyURL = readyURL
    this.#given = given
    this.#ports = ports
  }

  get #logPath(): string {
    return join(this.#directory, `${this.#name}.log`)
  }

  get #environment(): NodeJS.ProcessEnv {
    // What Caddy keeps for itself stays here too.
    return { ...process.env, HOME: this.#directory, XDG_DATA_HOME: this.#directory, XDG_CONFIG_HOME: this.#directory }
  }

  /** Runs another command of the program to its end and resolves with what it printed. */
  run(given: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile(paywordBinary(), given, { env: this.#environment, timeout: startTimeout }, (error, stdout, stderr) => {
        if (error) reject(new Error(`payword ${given.slice(0, 2).join(' ')}: ${error.message}\n${stderr}`))
        else resolve(stdout)
      })
    })
  }

  /** Starts the server and waits until it answers. */
  async start(): Promise<void> {
    if (this.#child) throw new Error(`the ${this.#name} runs already`)
    const log = openSync(this.#logPath, 'a', 0o600)
    // Linux ends the server with this process even if that is killed by SIGKILL.
    const guard = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : []
    const [program, ...words] = [...guard, paywordBinary(), ...this.#given] as [string, ...string[]]
    const child = spawn(program, words, { stdio: ['ignore', log, log], env: this.#environment })
    closeSync(log)
    live.add(child)
    this.#child = child
    let isRunning = true
    this.#ended = new Promise(resolve => {
      const end = (): void => {
        isRunning = false
        live.delete(child)
        resolve()
      }
      child.once('exit', end).once('error', end)
    })
    const deadline = Date.now() + startTimeout
    while (!await this.#isReady()) {
      if (!isRunning) {
        this.#child = undefined
        throw new Error(`the ${this.#name} ended before it answered; ${this.logEnd()}`)
      }
      if (Date.now() > deadline) {
        await this.kill()
        throw new Error(`the ${this.#name} did not answer at ${this.#readyURL} within ${startTimeout / 1000} s; ${this.logEnd()}`)
      }
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }

  async #isReady(): Promise<boolean> {
    return await answers(this.#readyURL) && (await Promise.all(this.#ports.map(listens))).every(Boolean)
  }

  /** Asks the server to end, and kills it if it has not after a while. */
  async stop(): Promise<void> {
    const child = this.#child
    child?.kill('SIGTERM')
    const timer = setTimeout(() => child?.kill('SIGKILL'), stopTimeout)
    await this.#ended
    clearTimeout(timer)
    this.#child = undefined
  }

  /** Ends the server at once, as a power cut would. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#ended
    this.#child = undefined
  }

  /** The last lines of the log. */
  logEnd(): string {
    const text = existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8') : ''
    return `log of the ${this.#name}:\n${text.trim().split('\n').slice(-15).join('\n')}`
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { headers: { Origin: new URL(url).origin }, signal: AbortSignal.timeout(5_000) })
    await response.body?.cancel()
    return response.status < 500
  } catch {
    return false
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).once('error', () => resolve(false))
  })
}

/**
 * Ports of the loopback interface that nobody listens on: below those that
 * systems give to outgoing connections, so that a server that is started again
 * finds its port free, and none that browsers refuse.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = 15_000 + Math.floor(Math.random() * 17_000)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
