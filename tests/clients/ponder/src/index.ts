// What the indexer does with each event.
import { ponder } from 'ponder:registry'
import { account, call, transfer } from 'ponder:schema'
import { zeroAddress } from 'viem'

ponder.on('Token:Transfer', async ({ event, context }) => {
  const { from, to, value } = event.args
  const { abi, address } = context.contracts.Token
  for (const [holder, change] of [[from, -value], [to, value]]) {
    if (holder === zeroAddress) continue
    const read = await context.client.readContract({ abi, address, functionName: 'balanceOf', args: [holder] })
    await context.db.insert(account).values({ address: holder, balance: change, read }).onConflictDoUpdate((row) => ({ balance: row.balance + change, read }))
  }
  await context.db.insert(transfer).values({ id: event.id, hash: event.transaction.hash, block: Number(event.block.number), gasUsed: event.transactionReceipt.gasUsed })
})

for (const name of ['Token.transfer()', 'Token.spread()', 'Token.pull()'] as const) {
  ponder.on(name, async ({ event, context }) => {
    await context.db.insert(call).values({ id: event.id, hash: event.transaction.hash, from: event.trace.from })
  })
}
