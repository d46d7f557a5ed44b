import android.content.AssetManager
import android.content.Context
import android.graphics.Bitmap
import java.io.File
import java.security.MessageDigest

/** Reads one command a line, and prints one line for each. */
fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val size = File(folder, "photograph.size").readText().trim().split(" ").map { it.toInt() }
    val photo = Bitmap(size[0], size[1], File(folder, "photograph.rgba").readBytes())
    val pixels = IntArray(photo.width * photo.height)
    photo.getPixels(pixels, 0, photo.width, 0, 0, photo.width, photo.height)
    for (line in generateSequence(::readLine)) {
        val words = line.split(" ")
        fun number(index: Int) = words[index].toInt()
        fun box() = Box(number(1), number(2), number(3), if (words[0] == "chip") words[5].toDouble() else 0.0)
        fun numbers(from: Int) = words.drop(from).map { it.toDouble() }
        println(when (words[0]) {
            "chip" -> {
                val values = chip(pixels, photo.width, photo.height, box(), number(4))
                val bytes = ByteArray(values.size) { values[it].toInt().toByte() }
                check(values.all { it == it.toInt().toFloat() })
                MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
            }
            "feature" -> try {
                val head = Head(Context(AssetManager(folder)), number(4))
                (0 until number(5)).joinToString(";") { head.feature(photo, box()).joinToString(",") }
            } catch (error: IllegalStateException) {
                error.message
            }
            "decode" -> {
                val values = numbers(1).map { it.toFloat() }.toFloatArray()
                decode(values.copyOfRange(0, 896), values.copyOfRange(896, values.size))
                    .joinToString(";") { it.joinToString(",") }
            }
            "landmarks" -> Landmarks(0.0, numbers(1).toDoubleArray()).box().let { "${it.x},${it.y},${it.size},${it.angle}" }
            "search" -> {
                val asked = mutableListOf<View>()
                search(number(1), number(2)) { view, _ -> asked += view; listOf<DoubleArray>() }
                asked.joinToString(";") { "${it.x},${it.y},${it.side},${it.angle}" }
            }
            "view" -> {
                val (x, y, side, angle) = numbers(1)
                View(x, y, side, angle).picture(pixels, photo.width, photo.height, false).joinToString(",")
            }
            "ask" -> {
                val head = Head(Context(AssetManager(folder)), number(1))
                head.ask(words[2], words[3].split(",").map { it.toFloat() })
            }
            else -> error("There is no command $line.")
        })
    }
}
