// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Commands} from "./Commands.sol";
import {Deposits} from "./Deposits.sol";
import {GatewayStorage} from "./GatewayStorage.sol";

/// @notice The gateway on TRON: signatures by `batchValidateSign`, which checks up to 16 on several cores. One by one they
/// would not fit the 80 ms that TRON gives a transaction.
contract TronGateway is Deposits, Commands {
    uint256 internal constant BATCH = 16;

    /// The precompile's address; tests put a contract in its place.
    address public immutable BATCH_VERIFIER;

    constructor(Settings memory settings, address batchVerifier) GatewayStorage(settings) {
        if (batchVerifier == address(0)) revert ZeroAddress();
        BATCH_VERIFIER = batchVerifier;
    }

    function _verifySignatures(bytes32 digest, bytes calldata set, bytes calldata signatures, uint256 count)
        internal
        view
        override
        returns (uint256 power)
    {
        uint256 members = (set.length - SET_HEAD) / MEMBER_BYTES;
        uint256 next;
        for (uint256 from; from < count; from += BATCH) {
            uint256 size = count - from < BATCH ? count - from : BATCH;
            bytes[] memory batch = new bytes[](size);
            address[] memory signers = new address[](size);
            for (uint256 i; i < size; ++i) {
                uint256 at = (from + i) * SIGNATURE_BYTES;
                uint256 index = uint8(signatures[at]);
                uint256 s = uint256(bytes32(signatures[at + 33:at + 65]));
                uint8 v = uint8(signatures[at + 65]);
                if (index < next || index >= members || s > HALF_ORDER || (v != 27 && v != 28)) {
                    revert BadSignature(from + i);
                }
                next = index + 1;
                uint256 member = SET_HEAD + index * MEMBER_BYTES;
                batch[i] = signatures[at + 1:at + SIGNATURE_BYTES];
                signers[i] = address(bytes20(set[member:member + 20]));
                power += uint64(bytes8(set[member + 20:member + MEMBER_BYTES]));
            }
            (bool ok, bytes memory result) = BATCH_VERIFIER.staticcall(abi.encode(digest, batch, signers));
            if (!ok || result.length != 32) revert BadSignature(from);
            for (uint256 i; i < size; ++i) {
                if (result[i] != 0x01) revert BadSignature(from + i);
            }
        }
    }
}
