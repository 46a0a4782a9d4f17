/**
 * Real servers for tests: a broker and gates (Caddy), each a process of the
 * `payword` program, on free ports of the loopback interface. `PAYWORD_BINARY`
 * names the program; scripts/test.mjs builds it.
 */

/** One site behind the gate. All sites of a test are served by one Caddy. */
export interface SiteConfig {
  /** What the test calls it. */
  name: string
  /** Lines of the Caddyfile inside of the site's block, with `{origin}` where its vendor's name stands. */
  caddyfile: string
}

export interface Site {
  name: string
  /** Such as `http://127.0.0.1:40123`. */
  origin: string
}

/** A running broker and gate. */
export interface Servers {
  broker: { origin: string, adminToken: string }
  site(name: string): Site
  /** Puts money on an account, in micros. */
  fund(account: string, amount: bigint): Promise<void>
  /** Of an account, by the administrator: in micros. */
  balance(account: string): Promise<{ available: bigint, reserved: bigint }>
  /** What the gate holds on all commitments to a site: sums in micros, by the gate's admin API. */
  taken(site: string): Promise<{ accepted: bigint, spent: bigint, commitments: number }>
  stopBroker(): Promise<void>
  startBroker(): Promise<void>
  /** SIGKILL. */
  killGate(): Promise<void>
  startGate(): Promise<void>
  close(): Promise<void>
}

/** Starts a broker and a gate with these sites, registered as vendors. */
export async function startServers(_sites: SiteConfig[]): Promise<Servers> {
  throw new Error('not written yet')
}
