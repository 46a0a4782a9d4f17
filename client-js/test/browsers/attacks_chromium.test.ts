import { tryAttacks } from './attacks/all.js'

tryAttacks('chromium')
