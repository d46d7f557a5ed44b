import android.content.AssetManager
import android.content.Context
import android.graphics.Bitmap
import java.io.File
import java.security.MessageDigest
import javax.crypto.spec.SecretKeySpec

fun bytes(hexadecimal: String) = hexadecimal.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

fun secret(hexadecimal: String) = SecretKeySpec(bytes(hexadecimal), "HmacSHA256")

/** The bytes of docs/codes.md from which the golden draws come. */
fun golden(): (Int) -> ByteArray {
    var kept = ByteArray(0)
    var counter = 0
    return { count ->
        while (kept.size < count) {
            val number = java.nio.ByteBuffer.allocate(4).putInt(counter++).array()
            kept += MessageDigest.getInstance("SHA-256").digest("privzoo golden".toByteArray() + number)
        }
        kept.copyOf(count).also { kept = kept.copyOfRange(count, kept.size) }
    }
}

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
            "coded" -> try { // box, how often, epsilon or -, secret or -, slot, both in hexadecimal
                val head = Head(Context(AssetManager(folder)))
                val permanent = if (words[6] == "-") null else Permanent(secret(words[6]), String(bytes(words[7])))
                (0 until number(4)).joinToString(";") {
                    head.feature(photo, box(), words[5].toDoubleOrNull(), permanent).joinToString(",")
                }
            } catch (error: RuntimeException) {
                error.message
            }
            "draw" -> {
                val (k, lie) = Pair(number(1), lies(number(1), words[2].toDouble()))
                val source = golden()
                "$lie;" + words[3].split(",").joinToString(",") { draw(it.toInt(), k, lie, source).toString() }
            }
            "permanent" -> {
                val (k, epsilon) = Pair(number(1), words[2].toDouble())
                val permanent = Permanent(secret(words[3]), String(bytes(words[4])))
                (0 until k).joinToString(",") {
                    draw(it, k, lies(k, epsilon), permanent.source(String(bytes(words[5])), k, epsilon, it)).toString()
                }
            }
            "symbols" -> {
                val codebook = org.json.JSONObject(File(folder, "codebook.json").readText())
                words[1].split(";").joinToString(",") { one ->
                    symbolOf(one.split(",").map { it.toDouble() }, codebook).toString()
                }
            }
            "decode" -> {
                val values = numbers(1).map { it.toFloat() }.toFloatArray()
                decode(values.copyOfRange(0, 896), values.copyOfRange(896, values.size))
                    .joinToString(";") { it.joinToString(",") }
            }
            "landmarks" -> Landmarks(0.0, numbers(1).toDoubleArray()).box().let { "${it.x},${it.y},${it.size},${it.angle}" }
            "search" -> {
                val looks = words[3].split("|").map { look -> // what each look gives: rows of numbers
                    look.split(";").filter { it != "" }.map { row ->
                        row.split(",").map { it.toDouble() }.toDoubleArray()
                    }
                }
                val asked = mutableListOf<View>()
                val boxes = search(number(1), number(2)) { view, _ -> asked += view; looks[asked.size - 1] }
                asked.joinToString(";") { "${it.x},${it.y},${it.side},${it.angle}" } + "|" +
                    boxes.joinToString(";") { "${it.x},${it.y},${it.size},${it.angle}" }
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
