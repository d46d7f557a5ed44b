package org.json

/** Of flat lines `path<TAB>value`, in place of a parser; a text of JSON, as a server answers it, is kept as it is. */
class JSONObject private constructor(private val text: String, private val at: String) {
    constructor(text: String) : this(text, "")

    private fun find(name: String): String? =
        text.lineSequence().map { it.split("\t") }.find { it[0] == "$at$name" }?.get(1)

    fun getString(name: String): String = find(name)!!

    fun getInt(name: String): Int = find(name)!!.toInt()

    fun getDouble(name: String): Double = find(name)!!.toDouble()

    fun getBoolean(name: String): Boolean = find(name)!!.toBoolean()

    fun has(name: String) = text.lineSequence().any { it.startsWith("$at$name\t") || it.startsWith("$at$name.") }

    fun isNull(name: String): Boolean = !has(name) || find(name) == "null"

    fun getJSONObject(name: String) = JSONObject(text, "$at$name.")

    fun getJSONArray(name: String) = JSONArray(this, name)

    override fun toString() = text
}

class JSONArray(private val owner: JSONObject, private val name: String) {
    fun getJSONObject(index: Int) = owner.getJSONObject("$name.$index")

    fun getJSONArray(index: Int) = JSONArray(owner, "$name.$index")

    fun getDouble(index: Int): Double = owner.getDouble("$name.$index")

    fun getInt(index: Int): Int = owner.getInt("$name.$index")

    fun length(): Int = generateSequence(0) { it + 1 }.first { !owner.has("$name.$it") }
}
