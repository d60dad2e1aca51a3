// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IGateway} from "./IGateway.sol";

/// @notice What is hashed, signed and proved: the same bytes as in `bridge/types`, checked by shared vectors.
library Digests {
    bytes32 internal constant DOMAIN_TYPE = keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    bytes32 internal constant DEPOSIT_TYPE = keccak256(
        "Deposit(bytes32 bridgeId,uint64 rootChainId,address gateway,uint64 nonce,address token,address sender,address recipient,uint256 amount)"
    );
    bytes32 internal constant FIRST_ACC_TYPE =
        keccak256("FirstAccumulator(bytes32 bridgeId,uint64 rootChainId,address gateway)");
    bytes32 internal constant CHECKPOINT_TYPE = keccak256(
        "Checkpoint(uint64 seq,uint64 lastBlock,bytes32 lastBlockHash,uint64 timestamp,bytes32 destsHash,bytes32 setHash,bytes32 nextSetHash)"
    );
    bytes32 internal constant COMMAND_TYPE = keccak256(
        "GatewayCommand(uint64 rootChainId,address gateway,uint64 commandNonce,uint8 kind,bytes payload)"
    );
    bytes32 internal constant SET_TYPE = keccak256("BridgeSet(bytes32 bridgeId,bytes set)");
    bytes32 internal constant WITHDRAWAL_TYPE = keccak256(
        "Withdrawal(bytes32 bridgeId,uint64 rootChainId,address gateway,uint32 treeId,uint64 index,address token,address sender,address recipient,uint256 amount,uint256 relayerFee)"
    );

    function domain(bytes32 bridgeId) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, keccak256("BTTC Bridge"), keccak256("1"), bridgeId));
    }

    function typed(bytes32 domainHash, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainHash, structHash));
    }

    function setHash(bytes32 bridgeId, bytes calldata set) internal pure returns (bytes32) {
        return keccak256(abi.encode(SET_TYPE, bridgeId, keccak256(set)));
    }

    function checkpoint(bytes32 domainHash, IGateway.Checkpoint calldata cp, IGateway.Dest[] calldata dests)
        internal
        pure
        returns (bytes32)
    {
        bytes32 destsHash = keccak256(abi.encode(dests));
        return typed(
            domainHash,
            keccak256(
                abi.encode(
                    CHECKPOINT_TYPE,
                    cp.seq,
                    cp.lastBlock,
                    cp.lastBlockHash,
                    cp.timestamp,
                    destsHash,
                    cp.setHash,
                    cp.nextSetHash
                )
            )
        );
    }

    function command(
        bytes32 domainHash,
        uint64 rootChainId,
        address gateway,
        uint64 nonce,
        uint8 kind,
        bytes calldata payload
    ) internal pure returns (bytes32) {
        return typed(
            domainHash,
            keccak256(abi.encode(COMMAND_TYPE, rootChainId, gateway, nonce, kind, keccak256(payload)))
        );
    }

    /// keccak of a hash.
    function twice(bytes32 hash) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            mstore(0, hash)
            result := keccak256(0, 32)
        }
    }

    /// The root that a leaf and its 32 siblings give; the direction comes from the index alone.
    function fold(bytes32 leaf, uint256 index, bytes32[32] calldata proof) internal pure returns (bytes32 node) {
        node = leaf;
        assembly ("memory-safe") {
            // Sixteen heights at a time: a loop around each would cost as much as its hash.
            let left
            let end := add(proof, 1024)
            for { let at := proof } lt(at, end) { at := add(at, 512) } {
                left := shl(5, and(index, 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(at))
                node := keccak256(0, 64)
                left := shl(5, and(shr(1, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 32)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(2, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 64)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(3, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 96)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(4, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 128)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(5, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 160)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(6, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 192)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(7, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 224)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(8, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 256)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(9, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 288)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(10, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 320)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(11, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 352)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(12, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 384)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(13, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 416)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(14, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 448)))
                node := keccak256(0, 64)
                left := shl(5, and(shr(15, index), 1))
                mstore(left, node)
                mstore(xor(left, 32), calldataload(add(at, 480)))
                node := keccak256(0, 64)
                index := shr(16, index)
            }
        }
    }
}
