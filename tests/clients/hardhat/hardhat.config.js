// Hardhat against a running network; its compiler is npm's solc.
require('@nomicfoundation/hardhat-ethers')
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require('hardhat/builtin-tasks/task-names')
const { subtask } = require('hardhat/config')

// npm's compiler: hardhat would download one.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({ solcVersion }, hre, runSuper) => {
  const { version } = require('solc/package.json')
  if (solcVersion !== version) return runSuper()
  const longVersion = require('solc').version().replace('.Emscripten.clang', '')
  return { compilerPath: require.resolve('solc/soljson.js'), isSolcJs: true, version, longVersion }
})

/** @type import('hardhat/config').HardhatUserConfig */
module.exports = {
  solidity: { version: '0.8.30', settings: { optimizer: { enabled: true } } },
  networks: {
    bttc: { url: process.env.BTTC_URL ?? 'http://127.0.0.1:8545', accounts: (process.env.BTTC_KEYS ?? '').split(',').filter(Boolean) },
  },
}
