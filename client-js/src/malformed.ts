import { PaywordError } from './errors.js'

/**
 * What was given to a parser is not of the form that docs/protocol.md asks for.
 * `message` says what was wrong and what would be right. It is the one error that
 * the parsers of this library throw.
 */
export class MalformedError extends PaywordError {
  override readonly name = 'MalformedError'

  constructor(message: string, options?: ErrorOptions) {
    super('usage', message, options)
  }

  /** The same error with a word in front of it that says where it was. */
  within(place: string): MalformedError {
    return new MalformedError(`${place}: ${this.message}`, { cause: this.cause })
  }
}

/**
 * Runs `read` and puts `place` in front of a {@link MalformedError} that it throws.
 */
export function within<T>(place: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof MalformedError ? error.within(place) : error
  }
}
