// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Commands} from "./Commands.sol";
import {Deposits} from "./Deposits.sol";
import {GatewayStorage} from "./GatewayStorage.sol";

/// @notice The gateway on Ethereum and BNB Chain: signatures by `ecrecover`.
contract EvmGateway is Deposits, Commands {
    constructor(Settings memory settings) GatewayStorage(settings) {}

    function _verifySignatures(bytes32 digest, bytes calldata set, bytes calldata signatures, uint256 count)
        internal
        view
        override
        returns (uint256 power)
    {
        uint256 members = (set.length - SET_HEAD) / MEMBER_BYTES;
        uint256 bad = type(uint256).max;
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, digest)
            let next := 0
            let at := signatures.offset
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                let index := byte(0, calldataload(at))
                let s := calldataload(add(at, 33))
                // Indices ascend strictly and name a member; one signature has one form.
                if or(or(lt(index, next), iszero(lt(index, members))), gt(s, HALF_ORDER)) {
                    bad := i
                    break
                }
                next := add(index, 1)
                mstore(add(input, 32), byte(0, calldataload(add(at, 65))))
                mstore(add(input, 64), calldataload(add(at, 1)))
                mstore(add(input, 96), s)
                mstore(0, 0)
                pop(staticcall(gas(), 1, input, 128, 0, 32))
                let member := calldataload(add(add(set.offset, SET_HEAD), mul(index, MEMBER_BYTES)))
                let signer := mload(0)
                if or(iszero(signer), iszero(eq(signer, shr(96, member)))) {
                    bad := i
                    break
                }
                power := add(power, and(shr(32, member), 0xffffffffffffffff))
                at := add(at, SIGNATURE_BYTES)
            }
        }
        if (bad != type(uint256).max) revert BadSignature(bad);
    }
}
