package android.graphics

/** A photograph; `rgba` has four bytes for each pixel, row by row. */
class Bitmap(val width: Int, val height: Int, private val rgba: ByteArray) {
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        for (row in 0 until height) for (column in 0 until width) {
            val at = 4 * ((y + row) * this.width + x + column)
            fun byte(i: Int) = rgba[at + i].toInt() and 255
            pixels[offset + row * stride + column] = byte(3) shl 24 or (byte(0) shl 16) or (byte(1) shl 8) or byte(2)
        }
    }
}
