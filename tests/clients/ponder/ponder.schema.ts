// What the indexer keeps.
import { onchainTable } from 'ponder'

export const account = onchainTable('account', (t) => ({
  address: t.hex().primaryKey(),
  balance: t.bigint().notNull(),
  /** What the contract said at that block. */
  read: t.bigint().notNull(),
}))

export const transfer = onchainTable('transfer', (t) => ({
  id: t.text().primaryKey(),
  hash: t.hex().notNull(),
  block: t.integer().notNull(),
  gasUsed: t.bigint().notNull(),
}))

export const call = onchainTable('call', (t) => ({
  id: t.text().primaryKey(),
  hash: t.hex().notNull(),
  from: t.hex().notNull(),
}))
