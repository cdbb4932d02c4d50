// Random numbers of `nullcline_data::random`, bit for bit, for shaders: see `random::WGSL`.

// Key, counter (block, stream, low and high half of the index), words of the block at hand, words spent.
var<private> random_key: vec2<u32>;
var<private> random_counter: vec4<u32>;
var<private> random_words: vec4<u32>;
var<private> random_spent: u32;

// The low and the high word of a product of two words.
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a * b, a1 * b1 + (middle >> 16u) + (cross >> 16u));
}

// Philox-4x32 with ten rounds.
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var key = seed;
    for (var round = 0u; round < 10u; round += 1u) {
        let p0 = multiply_wide(0xD2511F53u, c.x);
        let p1 = multiply_wide(0xCD9E8D57u, c.z);
        c = vec4<u32>(p1.y ^ c.y ^ key.x, p1.x, p0.y ^ c.w ^ key.y, p0.x);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Opens the sequence of (seed, stream, index) at its beginning; halves are low, high.
fn random_open(seed: vec2<u32>, stream: u32, index: vec2<u32>) {
    random_key = seed;
    random_counter = vec4<u32>(0u, stream, index.x, index.y);
    random_spent = 4u;
}

// The next 32 random bits.
fn random_word() -> u32 {
    if (random_spent == 4u) {
        random_words = philox(random_counter, random_key);
        random_counter.x += 1u;
        random_spent = 0u;
    }
    var word = random_words.x;
    switch random_spent {
        case 1u: { word = random_words.y; }
        case 2u: { word = random_words.z; }
        case 3u: { word = random_words.w; }
        default: {}
    }
    random_spent += 1u;
    return word;
}

// Whether `Random::uniform` is below a probability p, given as the two words, low and high, of ceil(p 2^53):
// the uniform number is k 2^-53 with an integer k, and k 2^-53 < p where k < ceil(p 2^53).
fn random_is_below(threshold: vec2<u32>) -> bool {
    let low = random_word();
    let high = random_word();
    let k = vec2<u32>((high << 21u) | (low >> 11u), high >> 11u);
    return k.y < threshold.y || (k.y == threshold.y && k.x < threshold.x);
}

// `Random::below` for 0 < n < 2^32, with rejected = (2^64 - n) mod n.
fn random_below(n: u32, rejected: u32) -> u32 {
    loop {
        let low = random_word();
        let high = random_word();
        // The product of two words and one: three words, of which the highest is the result.
        let p0 = multiply_wide(low, n);
        let p1 = multiply_wide(high, n);
        let middle = p0.y + p1.x;
        let result = p1.y + select(0u, 1u, middle < p0.y);
        if (middle != 0u || p0.x >= rejected) { return result; }
    }
    return 0u;
}
