/**
 * Real servers for tests: a broker and a gate (Caddy), each a process of the
 * `payword` program, on free ports of the loopback interface. `PAYWORD_BINARY`
 * names the program; scripts/test.mjs builds it. Logs stand in a directory of
 * its own, which is kept and named when the test process ends with a failure.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { freePorts, keepLogsOf, ServerProcess } from './processes.js'

/** One site behind the gate. All sites of a test are served by one Caddy. */
export interface SiteConfig {
  /** What the test calls it. */
  name: string
  /**
   * Lines of the Caddyfile inside of the site's block. Replaced in them: `{origin}`
   * by the site's origin, which is its vendor's name (a site without it is no vendor); `{files}` by the folder with
   * `files`; `{origin:name}` by the origin of another site of the test.
   */
  caddyfile: string
  /** The host of the origin. Default: 127.0.0.1. */
  host?: '127.0.0.1' | 'localhost'
  /** Files of the site by path, such as `articles/one.html`. */
  files?: Record<string, string | Uint8Array>
}

export interface Site {
  name: string
  /** Such as `http://127.0.0.1:40123`. */
  origin: string
}

/** What can be set beside the sites. */
export interface ServersOptions {
  /** Further arguments of `payword broker serve`. */
  brokerArguments?: string[]
  /** Further lines of the gate's global option `payword`. */
  gateOptions?: string
}

/** A running broker and gate. */
export interface Servers {
  broker: { origin: string, adminToken: string }
  /** Origin of Caddy's admin API. */
  gateAdmin: string
  /** Where the logs, the broker's database (`broker.db`) and the gate's store (`gate`) are. */
  directory: string
  site(name: string): Site
  /** Puts money on an account, in micros. */
  fund(account: string, amount: bigint): Promise<void>
  /** The code of a new voucher, worth an amount in micros. */
  voucher(amount: bigint): Promise<string>
  /** Of an account, by the administrator: in micros. */
  balance(account: string): Promise<{ available: bigint, reserved: bigint }>
  /** What the gate holds on all commitments to a site: sums in micros, by the gate's admin API. */
  taken(site: string): Promise<{ accepted: bigint, spent: bigint, commitments: number }>
  /** Has the gate claim what it was paid, now. */
  redeem(): Promise<void>
  stopBroker(): Promise<void>
  startBroker(): Promise<void>
  /** SIGKILL. */
  killGate(): Promise<void>
  startGate(): Promise<void>
  /** The last lines of both logs, for messages. */
  logs(): string
  close(): Promise<void>
}

/** Starts a broker and a gate with these sites, registered as vendors. */
export async function startServers(sites: SiteConfig[], options: ServersOptions = {}): Promise<Servers> {
  for (let attempt = 1; ; attempt++) {
    const running = new RunningServers(sites, options, await freePorts(sites.length + 2))
    try {
      await running.start()
      return running
    } catch (error) {
      await running.close()
      // Another process of this machine may have taken a port meanwhile.
      if (attempt === 3 || !String(error).includes('address already in use')) throw error
    }
  }
}

class RunningServers implements Servers {
  readonly broker: { origin: string, adminToken: string }
  readonly gateAdmin: string
  readonly directory = mkdtempSync(join(tmpdir(), 'payword-test-'))
  readonly #sites = new Map<string, Site>()
  readonly #vendors: string[]
  readonly #broker: ServerProcess
  readonly #gate: ServerProcess

  constructor(sites: SiteConfig[], options: ServersOptions, ports: number[]) {
    this.broker = { origin: `http://127.0.0.1:${ports[0]}`, adminToken: randomBytes(24).toString('hex') }
    this.gateAdmin = `http://127.0.0.1:${ports[1]}`
    sites.forEach((site, i) => this.#sites.set(site.name, { name: site.name, origin: `http://${site.host ?? '127.0.0.1'}:${ports[i + 2]}` }))
    if (this.#sites.size !== sites.length) throw new Error('two sites have the same name')
    this.#vendors = sites.filter(site => site.caddyfile.includes('{origin}')).map(site => this.site(site.name).origin)
    writeFileSync(this.#path('admin-token'), this.broker.adminToken, { mode: 0o600 })
    writeFileSync(this.#path('Caddyfile'), this.#caddyfile(sites, options))
    this.#broker = new ServerProcess(this.directory, 'broker', `${this.broker.origin}/healthz`, [
      'broker', 'serve', '--db', this.#path('broker.db'), '--origin', this.broker.origin,
      '--listen', `127.0.0.1:${ports[0]}`, '--key', this.#path('broker.key'), '--admin-token', this.#path('admin-token'),
      '--currency', 'USD', '--allow-loopback-vendors', ...options.brokerArguments ?? [],
    ])
    // Caddy's admin API answers before the sites listen.
    this.#gate = new ServerProcess(this.directory, 'gate', `${this.gateAdmin}/payword/`,
      ['run', '--config', this.#path('Caddyfile'), '--adapter', 'caddyfile'], ports.slice(2))
    keepLogsOf(this.directory, () => this.logs())
  }

  #path(name: string): string {
    return join(this.directory, name)
  }

  #caddyfile(sites: SiteConfig[], options: ServersOptions): string {
    const blocks = sites.map(site => {
      const folder = this.#path(join('sites', site.name))
      mkdirSync(folder, { recursive: true })
      for (const [path, content] of Object.entries(site.files ?? {})) {
        mkdirSync(dirname(join(folder, path)), { recursive: true })
        writeFileSync(join(folder, path), content)
      }
      const origin = this.site(site.name).origin
      const lines = site.caddyfile.replaceAll('{origin}', origin).replaceAll('{files}', folder)
        .replaceAll(/\{origin:([\w-]+)\}/g, (_, other: string) => this.site(other).origin)
      return `${origin} {\n\tlog\n${lines}\n}\n`
    })
    return `{
	admin ${this.gateAdmin.slice('http://'.length)}
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
	log {
		format payword json
	}
	payword {
		broker ${this.broker.origin}
		store ${this.#path('gate')}
		claim_delay 0s
		redeem_interval 0
		${options.gateOptions ?? ''}
	}
}
${blocks.join('')}`
  }

  async start(): Promise<void> {
    await this.#broker.run(['broker', 'key', '--out', this.#path('broker.key')])
    await this.startBroker()
    await this.startGate()
    for (const vendor of this.#vendors) await this.#administer('/v1/admin/vendors', { vendor })
  }

  site(name: string): Site {
    const site = this.#sites.get(name)
    if (!site) throw new Error(`no site is called ${name}: want one of ${[...this.#sites.keys()].join(', ')}`)
    return site
  }

  async fund(account: string, amount: bigint): Promise<void> {
    await this.#administer('/v1/admin/fundings', {
      id: `test-${randomBytes(8).toString('hex')}`, account, amount: String(amount), currency: 'usd-micro',
    })
  }

  async voucher(amount: bigint): Promise<string> {
    const decimal = `${amount / 1_000_000n}.${String(amount % 1_000_000n).padStart(6, '0')}`
    const printed = await this.#broker.run(['broker', 'voucher', '--db', this.#path('broker.db'),
      '--id', `test-${randomBytes(8).toString('hex')}`, '--count', '1', '--amount', decimal])
    const code = printed.trim().split('\n').at(-1)
    if (!code) throw new Error(`payword broker voucher printed no code: ${printed}`)
    return code
  }

  async balance(account: string): Promise<{ available: bigint, reserved: bigint }> {
    const { available, reserved } = await this.#administer(`/v1/admin/accounts/${account}`) as { available: string, reserved: string }
    return { available: BigInt(available), reserved: BigInt(reserved) }
  }

  async taken(site: string): Promise<{ accepted: bigint, spent: bigint, commitments: number }> {
    const sum = { accepted: 0n, spent: 0n, commitments: 0 }
    let after: string | undefined = ''
    while (after !== undefined) {
      const query: string = new URLSearchParams({ vendor: this.site(site).origin, limit: '1000', after }).toString()
      const page = await ask(`${this.gateAdmin}/payword/commitments?${query}`) as ListedCommitments
      for (const one of page.commitments) {
        sum.accepted += BigInt(one.accepted_micros)
        sum.spent += BigInt(one.spent_micros)
        sum.commitments++
      }
      after = page.next
    }
    return sum
  }

  async redeem(): Promise<void> {
    await ask(`${this.gateAdmin}/payword/redeem`, { method: 'POST' })
  }

  async stopBroker(): Promise<void> {
    await this.#broker.stop()
  }

  async startBroker(): Promise<void> {
    await this.#broker.start()
  }

  async killGate(): Promise<void> {
    await this.#gate.kill()
  }

  async startGate(): Promise<void> {
    await this.#gate.start()
  }

  logs(): string {
    return `${this.#broker.logEnd()}\n${this.#gate.logEnd()}`
  }

  async close(): Promise<void> {
    await Promise.all([this.#gate.stop(), this.#broker.stop()])
  }

  async #administer(path: string, body?: object): Promise<unknown> {
    const headers = { Authorization: `Bearer ${this.broker.adminToken}`, 'Content-Type': 'application/json' }
    return ask(`${this.broker.origin}${path}`, body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers })
  }
}

interface ListedCommitments {
  commitments: { accepted_micros: string, spent_micros: string }[]
  next?: string
}

/** A request that must succeed. */
async function ask(url: string, init: { method?: string, headers?: Record<string, string>, body?: string } = {}): Promise<unknown> {
  // Caddy's admin API takes what looks like a browser's request from its own origin alone.
  const headers = { Origin: new URL(url).origin, ...init.headers }
  const response = await fetch(url, { ...init, headers, signal: AbortSignal.timeout(30_000) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${init.method ?? 'GET'} ${url}: ${response.status} ${text}`)
  return JSON.parse(text)
}

/** A server of the test's own behind the gate, by `reverse_proxy {address}`. */
export interface Upstream {
  /** Such as `127.0.0.1:40124`. */
  address: string
  /** What arrived, oldest first. */
  requests: { method: string, url: string, headers: IncomingHttpHeaders }[]
  close(): Promise<void>
}

/** Starts a server whose answers the test decides, such as those of a hostile site. */
export async function startUpstream(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Upstream> {
  const requests: Upstream['requests'] = []
  const server: Server = createServer((request, response) => {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers })
    answer(request, response)
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the upstream listens on no port')
  return {
    address: `127.0.0.1:${address.port}`,
    requests,
    close: () => new Promise(resolve => {
      server.close(() => resolve())
      server.closeAllConnections()
    }),
  }
}
