// What the indexer follows: one token and its deployer on our chain.
import { createConfig } from 'ponder'

const { NODE_RPC, NODE_WS, NODE_CHAIN, TOKEN, TOKEN_ABI, START, DATABASE } = process.env as Record<string, string>

export default createConfig({
  database: { kind: 'pglite', directory: DATABASE },
  chains: { devnet: { id: Number(NODE_CHAIN), rpc: NODE_RPC, ws: NODE_WS || undefined, pollingInterval: 200 } },
  contracts: {
    Token: {
      chain: 'devnet',
      abi: JSON.parse(TOKEN_ABI),
      address: TOKEN as `0x${string}`,
      startBlock: Number(START),
      includeTransactionReceipts: true,
      // Asks the node for traces of blocks.
      includeCallTraces: true,
    },
  },
})
