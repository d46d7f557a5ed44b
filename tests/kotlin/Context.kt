package android.content

class AssetManager(private val folder: java.io.File) {
    fun open(name: String): java.io.InputStream = java.io.File(folder, name).inputStream()
}

class Context(val assets: AssetManager)
