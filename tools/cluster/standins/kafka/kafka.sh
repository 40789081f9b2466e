#!/bin/sh
# Kafka's commands, told apart by the name they are called by. KAFKA_HEAP_OPTS, KAFKA_JVM_PERFORMANCE_OPTS and KAFKA_OPTS
# go to Java.
set -eu
name=$(basename "$0" .sh)
level=warn
case $name in
    kafka-server-start) class=kafka.Kafka level=info ;;
    kafka-storage) class=kafka.tools.StorageTool ;;
    kafka-configs) class=kafka.admin.ConfigCommand ;;
    kafka-topics) class=org.apache.kafka.tools.TopicCommand ;;
    kafka-consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    kafka-console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    kafka-console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
    *) echo "$name is none of the commands of this image" >&2; exit 2 ;;
esac
# Quick to start and small, as a broker with little to do should be.
# shellcheck disable=SC2086 # several options in one variable
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} \
    ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=$level" ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' "$class" "$@"
