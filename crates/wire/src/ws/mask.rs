//! Masking of payloads. Unmasking is the same operation.

/// XORs `bytes` with the repeated `mask`, eight bytes at a time.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The mask for the payload after its first `passed` bytes.
pub(super) fn rotated(mask: [u8; 4], passed: usize) -> [u8; 4] {
    let mut rotated = mask;
    rotated.rotate_left(passed % 4);
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_bytes() {
        let mask = [1, 2, 3, 250];
        for len in 0..40 {
            let plain: Vec<u8> = (0..len).collect();
            let by_hand: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
            for cut in 0..=plain.len() {
                let mut masked = plain.clone();
                let (head, tail) = masked.split_at_mut(cut);
                apply(head, mask);
                apply(tail, rotated(mask, cut));
                assert_eq!(masked, by_hand);
            }
        }
    }
}
