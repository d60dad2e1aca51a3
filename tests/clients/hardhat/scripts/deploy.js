// Deploys the counter and uses it, as a project's own script would.
const { ethers, network } = require('hardhat')

async function main() {
  const [deployer] = await ethers.getSigners()
  const counter = await ethers.deployContract('Counter', [7])
  await counter.waitForDeployment()
  const receipt = await counter.deploymentTransaction().wait()
  const value = await counter.value()
  console.log(JSON.stringify({ network: network.name, address: counter.target, deployer: deployer.address, block: receipt.blockNumber, value: Number(value) }))
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
