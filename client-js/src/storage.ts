import type { WalletDocument } from './document.js'

/**
 * Where a wallet lives. Several tabs, workers or processes may use one at the
 * same time: every change is one atomic, durable step on the newest document, so
 * that no payword and no request number is ever given out twice.
 */
export interface Storage {
  /** Name of the BroadcastChannel by which tabs and workers tell each other of changes; undefined: there are no others. */
  readonly channel?: string
  /**
   * Makes a new wallet. Rejects with a `storage` error if there is one already:
   * a wallet is never replaced.
   */
  create(secret: StoredSecret, document: WalletDocument): Promise<void>
  /** The secret and the newest document; undefined if there is no wallet. */
  load(): Promise<{ secret: StoredSecret, document: WalletDocument } | undefined>
  /**
   * Runs `change` on the newest document and resolves with what it returned once
   * the changed document is durable. `change` is synchronous, does no I/O and may
   * run more than once; if it throws, nothing is changed. Calls that wait at the
   * same time may share one write. If the promise rejects with anything but what
   * `change` threw, the change may or may not have happened.
   */
  update<T>(change: (document: WalletDocument) => T): Promise<T>
  /** Removes the wallet. */
  remove(): Promise<void>
  /** Gives free what the storage holds open. */
  close(): Promise<void>
}

/**
 * The wallet's secret as it is stored. In browsers `key` is a non-extractable
 * HKDF key of WebCrypto, made of the seed: script can derive with it and cannot
 * read it out. `sealed` is the seed under the owner's passphrase (an age file in
 * base64url), which backups carry.
 */
export interface StoredSecret {
  /** 32 bytes in base64url, where the storage is a file that only its owner can read; else undefined. */
  seed?: string
  key?: CryptoKey
  sealed?: string
}
