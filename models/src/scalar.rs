//! The number types a cell can be evaluated in.
//!
//! A cell's pointwise mathematics is written once (see [`crate::cells`]) against [`Scalar`] and the free
//! functions of this module. The vectors of [`crate::simd`] train it, `f64` analyses it, [`Dual`] gives its exact local
//! derivatives, and the text of the same body is WGSL: the functions below are named as WGSL names its own,
//! and [`WGSL_PRELUDE`] defines those that WGSL lacks.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number that a pointwise body can be evaluated in.
pub trait Scalar:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The same number in every component.
    fn constant(value: f64) -> Self;
    /// Exponential.
    fn exp(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// max(x, 0).
    fn relu(self) -> Self;
    /// 1 where x > 0, else 0.
    fn heaviside(self) -> Self;
    /// x^2: tighter than x * x for an interval, which does not know that its factors are the same number.
    #[inline(always)]
    fn square(self) -> Self {
        self * self
    }
    /// The derivative of [`heaviside`](Self::heaviside): 0, for an interval that holds the jump anything at all.
    #[inline(always)]
    fn heaviside_slope(self) -> Self {
        Self::constant(0.0)
    }
    /// Logistic function 1 / (1 + exp(-x)).
    ///
    /// By way of tanh, sigma(x) = (1 + tanh(x / 2)) / 2, which neither overflows nor cancels in the tails
    /// beyond the rounding of the type.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let half = Self::constant(0.5);
        half + half * (half * self).tanh()
    }
}

/// The same number in every component of the number type.
#[inline(always)]
pub fn constant<T: Scalar>(value: f64) -> T {
    T::constant(value)
}
/// 1 - x. Rust cannot infer the type of a constant that stands to the left of an operator.
#[inline(always)]
pub fn one_minus<T: Scalar>(x: T) -> T {
    T::constant(1.0) - x
}
/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh<T: Scalar>(x: T) -> T {
    x.tanh()
}
/// Logistic function.
#[inline(always)]
pub fn sigmoid<T: Scalar>(x: T) -> T {
    x.sigmoid()
}
/// max(x, 0).
#[inline(always)]
pub fn relu<T: Scalar>(x: T) -> T {
    x.relu()
}
/// 1 where x > 0, else 0: the derivative of [`relu`], by convention 0 at 0 as in torch.
#[inline(always)]
pub fn heaviside<T: Scalar>(x: T) -> T {
    x.heaviside()
}
/// Derivative of tanh, from its value y = tanh(x): 1 - y^2.
#[inline(always)]
pub fn tanh_slope<T: Scalar>(y: T) -> T {
    T::constant(1.0) - y * y
}
/// Derivative of relu, from its value y = relu(x).
#[inline(always)]
pub fn relu_slope<T: Scalar>(y: T) -> T {
    y.heaviside()
}
/// Derivative of the logistic function, from its value y: y (1 - y).
#[inline(always)]
pub fn sigmoid_slope<T: Scalar>(y: T) -> T {
    y * (T::constant(1.0) - y)
}

/// The free functions that WGSL lacks, for a shader that carries a cell's body. `tanh` is clamped because
/// some drivers return NaN for large arguments (gpuweb issue 4458). What is no number stays none, or a diverged
/// network would look healthy: `clamp` and `max` would return their bound, and NaN is told by its bits, because a
/// compiler may take it that x = x.
pub const WGSL_PRELUDE: &str = "\
fn constant(x: f32) -> f32 { return x; }
fn one_minus(x: f32) -> f32 { return 1.0 - x; }
fn safe_tanh(x: f32) -> f32 {
    return select(tanh(clamp(x, -15.0, 15.0)), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
fn sigmoid(x: f32) -> f32 { return 0.5 + 0.5 * safe_tanh(0.5 * x); }
fn relu(x: f32) -> f32 {
    return select(max(x, 0.0), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
fn heaviside(x: f32) -> f32 { return select(0.0, 1.0, x > 0.0); }
fn tanh_slope(y: f32) -> f32 { return 1.0 - y * y; }
fn relu_slope(y: f32) -> f32 { return heaviside(y); }
fn sigmoid_slope(y: f32) -> f32 { return y * (1.0 - y); }
";

macro_rules! scalar_for_float {
    ($float:ty) => {
        impl Scalar for $float {
            #[inline(always)]
            fn constant(value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn exp(self) -> Self {
                <$float>::exp(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                <$float>::tanh(self)
            }
            #[inline(always)]
            fn relu(self) -> Self {
                // Not `max`: a NaN must stay a NaN, or a diverged network would look healthy.
                if self < 0.0 { 0.0 } else { self }
            }
            #[inline(always)]
            fn heaviside(self) -> Self {
                if self > 0.0 { 1.0 } else { 0.0 }
            }
        }
    };
}
scalar_for_float!(f32);
scalar_for_float!(f64);

/// A dual number a + b e with e^2 = 0: carries an exact derivative beside a value.
///
/// Over [`Interval`](crate::interval::Interval) both parts are enclosures: `value` of the function over the box that
/// its arguments span, `derivative` of its slopes there, (f(x) - f(y)) / (x - y) for every x and y of the box. At
/// a kink that is the hull of the one-sided derivatives (Clarke's generalised gradient), so that the mean value
/// theorem holds for piecewise smooth bodies too (F. H. Clarke, Optimization and Nonsmooth Analysis, theorem 2.3.7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual<T = f64> {
    /// The value.
    pub value: T,
    /// The derivative along the chosen direction.
    pub derivative: T,
}

impl<T: Scalar> Dual<T> {
    /// A number that does not vary along the chosen direction.
    #[inline(always)]
    pub fn fixed(value: T) -> Self {
        Dual {
            value,
            derivative: T::constant(0.0),
        }
    }
    /// The number along which the derivative is taken.
    #[inline(always)]
    pub fn varying(value: T) -> Self {
        Dual {
            value,
            derivative: T::constant(1.0),
        }
    }
}

impl<T: Scalar> Add for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Dual {
            value: self.value + other.value,
            derivative: self.derivative + other.derivative,
        }
    }
}
impl<T: Scalar> Sub for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Dual {
            value: self.value - other.value,
            derivative: self.derivative - other.derivative,
        }
    }
}
impl<T: Scalar> Mul for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Dual {
            value: self.value * other.value,
            derivative: self.derivative * other.value + self.value * other.derivative,
        }
    }
}
impl<T: Scalar> Div for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Dual {
            value,
            derivative: (self.derivative - value * other.derivative) / other.value,
        }
    }
}
impl<T: Scalar> Neg for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Dual {
            value: -self.value,
            derivative: -self.derivative,
        }
    }
}

impl<T: Scalar> Scalar for Dual<T> {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Dual::fixed(T::constant(value))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let value = self.value.exp();
        Dual {
            value,
            derivative: self.derivative * value,
        }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        let value = self.value.tanh();
        Dual {
            value,
            derivative: self.derivative * (T::constant(1.0) - value.square()),
        }
    }
    #[inline(always)]
    fn relu(self) -> Self {
        Dual {
            value: self.value.relu(),
            derivative: self.derivative * self.value.heaviside(),
        }
    }
    #[inline(always)]
    fn heaviside(self) -> Self {
        Dual {
            value: self.value.heaviside(),
            derivative: self.derivative * self.value.heaviside_slope(),
        }
    }
    #[inline(always)]
    fn heaviside_slope(self) -> Self {
        Dual::fixed(self.value.heaviside_slope())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dual_derivatives_are_the_limits_of_difference_quotients(x in -3.0f64..3.0) {
            let h = 1e-6;
            let check = |f: &dyn Fn(Dual) -> Dual| {
                let exact = f(Dual::varying(x)).derivative;
                let estimate = (f(Dual::fixed(x + h)).value - f(Dual::fixed(x - h)).value) / (2.0 * h);
                (exact - estimate).abs() < 1e-7 * (1.0 + exact.abs())
            };
            prop_assert!(check(&|v| v.tanh()));
            prop_assert!(check(&|v| v.sigmoid()));
            prop_assert!(check(&|v| v.exp()));
            prop_assert!(check(&|v| v * v.tanh() / (Dual::constant(2.0) + v.sigmoid()) - -v));
            prop_assume!(x.abs() > 1e-3);
            prop_assert!(check(&|v| v.relu()));
        }
    }
}
