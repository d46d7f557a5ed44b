package android.security.keystore

import java.security.spec.AlgorithmParameterSpec

object KeyProperties {
    const val PURPOSE_SIGN = 4
}

/** To compile against; a machine without Android has no such key store. */
class KeyGenParameterSpec private constructor() : AlgorithmParameterSpec {
    class Builder(name: String, purposes: Int) {
        fun setKeySize(bits: Int) = this
        fun build() = KeyGenParameterSpec()
    }
}
