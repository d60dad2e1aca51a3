// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// What is used of forge's cheat codes; forge-std is not needed for it.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
    function envAddress(string calldata name) external view returns (address);
    function envUint(string calldata name) external view returns (uint256);
    function envBytes32(string calldata name) external view returns (bytes32);
    function prank(address sender) external;
    function rollFork(uint256 number) external;
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
