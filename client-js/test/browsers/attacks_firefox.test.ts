import { tryAttacks } from './attacks/all.js'

tryAttacks('firefox')
