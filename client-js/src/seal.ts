import { Decrypter, Encrypter } from 'age-encryption'

import { fromBase64url, toBase64url, type Bytes } from './encoding.js'
import { PaywordError } from './errors.js'
import { seedBytes } from './limits.js'

/** The logarithm of scrypt's cost: about a second and 256 MB, age's own choice and the Go client's. */
const defaultWorkFactor = 18

/**
 * Seals a seed under a passphrase: an age file (age-encryption.org/v1, scrypt) in
 * base64url, as the Go client's wallet files hold it. `workFactor` is the
 * logarithm of scrypt's cost, 1 to 20. Throws a `usage` error.
 */
export async function seal(seed: Uint8Array, passphrase: string, workFactor = defaultWorkFactor): Promise<string> {
  if (passphrase === '') throw new PaywordError('usage', 'a passphrase of no letters protects nothing')
  if (!Number.isInteger(workFactor) || workFactor < 1 || workFactor > 20) throw new PaywordError('usage', `work factor ${workFactor}: want 1 to 20`)
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(workFactor)
  return toBase64url(await encrypter.encrypt(new Uint8Array(seed)))
}

/** Opens what {@link seal} made. Throws a `passphrase` error, or a `storage` error if what is sealed is no seed. */
export async function unseal(sealed: string, passphrase: string | undefined): Promise<Bytes> {
  if (!passphrase) throw new PaywordError('passphrase', 'the wallet is sealed: its passphrase is missing')
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  let seed: Uint8Array
  try {
    seed = await decrypter.decrypt(fromBase64url(sealed))
  } catch {
    // What age says of a wrong passphrase and of a broken file is alike, and the
    // file's checksum was right.
    throw new PaywordError('passphrase', 'the passphrase is wrong')
  }
  if (seed.length !== seedBytes) throw new PaywordError('storage', `the wallet is damaged: its seed has ${seed.length} bytes, not ${seedBytes}`)
  return new Uint8Array(seed)
}
