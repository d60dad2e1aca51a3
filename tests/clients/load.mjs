// Transfers without end, as fast as one account's nonces go: something for the blocks of another test.
//
//   node load.mjs DEVNET.json ACCOUNT
import fs from 'node:fs'
import { createPublicClient, createWalletClient, defineChain, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const account = privateKeyToAccount(devnet.accounts[Number(process.argv[3])].privateKey)
const url = devnet.validators[1].rpc
const chain = defineChain({ id: devnet.chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [url] } } })
const client = createPublicClient({ chain, transport: http(url) })
const wallet = createWalletClient({ account, chain, transport: http(url) })
const fees = { maxFeePerGas: 1_000_000_000_000n, maxPriorityFeePerGas: 1n, gas: 21_000n }
for (let nonce = await client.getTransactionCount({ address: account.address }); ; nonce += 20) {
  const one = (index) => wallet.sendTransaction({ to: account.address, value: 1n, nonce: nonce + index, ...fees })
  await Promise.all(Array.from({ length: 20 }, (_, index) => one(index)))
  while ((await client.getTransactionCount({ address: account.address })) < nonce + 20) await new Promise((done) => setTimeout(done, 50))
}
