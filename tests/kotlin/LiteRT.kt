package com.google.ai.edge.litert

import android.content.AssetManager

enum class Accelerator { CPU }

class TensorBuffer(private var values: FloatArray) {
    fun writeFloat(data: FloatArray) { values = data }
    fun readFloat(): FloatArray = values
}

class Environment

/** Gives the golden output for the golden chip, and NaN for all else. */
class CompiledModel private constructor(private val chip: ByteArray, private val features: FloatArray) {
    class Options(vararg accelerators: Accelerator)

    fun createInputBuffers(): List<TensorBuffer> = listOf(TensorBuffer(FloatArray(chip.size)))

    fun createOutputBuffers(): List<TensorBuffer> = listOf(TensorBuffer(FloatArray(features.size)))

    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>) {
        val given = inputs[0].readFloat()
        val golden = given.size == chip.size && given.indices.all { given[it] == (chip[it].toInt() and 255).toFloat() }
        outputs[0].writeFloat(if (golden) features else FloatArray(features.size) { Float.NaN })
    }

    companion object {
        fun create(assets: AssetManager, name: String, options: Options, environment: Environment?): CompiledModel {
            val lines = assets.open("$name.golden").bufferedReader().readLines()
            val features = lines[0].split(" ").map { it.toFloat() }.toFloatArray()
            return CompiledModel(lines[1].split(" ").map { it.toInt().toByte() }.toByteArray(), features)
        }
    }
}
