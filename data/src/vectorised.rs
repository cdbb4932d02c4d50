//! Plain code that is compiled for wider registers too.

/// Functions that are compiled a second time for AVX2, which is taken where the processor has it. Nothing is fused or
/// reordered: both give the same bits.
#[macro_export]
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident $(<const $n:ident: usize>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $vis fn $name $(<const $n: usize>)? ($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn compiled $(<const $n: usize>)? ($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<const $n: usize>)? ($($arg: $type),*) $(-> $result)? {
                    compiled($($arg),*)
                }
                if ::std::is_x86_feature_detected!("avx2") {
                    // SAFETY: detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            compiled($($arg),*)
        }
    };
}
